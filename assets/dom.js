export const find = (id) => document.getElementById(id);

// Nothing twice: whatever is set is spoken where it is live.
export function show(id, text) {
	if (find(id).textContent !== String(text)) find(id).textContent = text;
}

const PATIENCE = 5_000;

export const ask = (url, options) => fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE), ...options });

export function make(name, properties, ...children) {
	const element = Object.assign(document.createElement(name), properties);
	element.append(...children);
	return element;
}
