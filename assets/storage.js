// What the page remembers. Storage can be forbidden or full; the page then forgets, but works.
// One origin may have several rooms behind a proxy, so the path is part of each key.

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
