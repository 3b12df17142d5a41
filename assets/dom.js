export const find = (id) => document.getElementById(id);

// Says the same only once: what is set is spoken again where it is live.
export function show(id, text) {
	if (find(id).textContent !== String(text)) find(id).textContent = text;
}

export function make(name, properties, ...children) {
	const element = Object.assign(document.createElement(name), properties);
	element.append(...children);
	return element;
}
