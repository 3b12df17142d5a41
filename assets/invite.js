// Invites others: with the link to this page, and with the same as a code for a camera. The server
// draws it, and knows a link for others where this one is for this computer alone.

import { find, show } from './dom.js';
import { say } from './texts.js';

const PATIENCE = 5_000;

const code = find('code');
const link = find('link');

find('invite').onclick = async () => {
	let answer = {};
	try {
		const page = location.origin + location.pathname;
		answer = await (await fetch(`invite?${page}`, { signal: AbortSignal.timeout(PATIENCE) })).json();
	} catch {}
	const { url, size, path, flag } = answer;
	find('shared').hidden = !url;
	show('invited', url ? say('scan') : flag ? say('onlyHere', flag) : say('noLink'));
	link.value = code.ariaLabel = url;
	code.setAttribute('viewBox', `0 0 ${size} ${size}`);
	code.firstChild.setAttribute('d', path);
	find('invitation').showModal();
	link.select();
};

// This works over plain http too, where there is no navigator.clipboard.
find('copy').onclick = () => {
	link.select();
	if (document.execCommand('copy')) show('invited', say('copied'));
};
