// What the page remembers. Storage can be forbidden or full; the page then forgets, but works.
// Keys carry the path, since a proxy may serve several rooms from one origin.

const area = (name) => ({
	get(key) {
		try {
			return window[name].getItem(location.pathname + key);
		} catch {
			return null;
		}
	},
	set(key, value) {
		try {
			window[name].setItem(location.pathname + key, value);
		} catch {}
	},
});

export const tab = area('sessionStorage');
export const device = area('localStorage');
