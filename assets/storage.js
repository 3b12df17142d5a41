// What the page remembers, unless storage is forbidden or full. Behind a proxy, one origin may have
// several rooms, so keys have the path.

function attempt(action) {
	try {
		return action();
	} catch {}
}

const area = (name) => ({
	get: (key) => attempt(() => window[name].getItem(location.pathname + key)),
	set: (key, value) => attempt(() => window[name].setItem(location.pathname + key, value)),
});

export const tab = area('sessionStorage');
export const device = area('localStorage');
