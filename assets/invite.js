// Invites others by a link and its code, which the server knows.

import { ask, find, show } from './dom.js';
import { say } from './texts.js';

const link = find('link');

find('invite').onclick = async () => {
	const answer = ask(`invite?${location.origin}${location.pathname}`);
	const { url, code, flag } = await answer.then((response) => response.json()).catch(() => ({}));
	show('invite-hint', url ? '' : flag ? say('onlyHere', flag) : say('noNetwork'));
	find('invited').hidden = !url;
	if (url) Object.assign(find('code'), { src: code, alt: url });
	link.value = url;
	find('invitation').showModal();
	link.select();
};

// Over plain http there is no navigator.clipboard, but there is this.
find('copy').onclick = () => {
	link.select();
	if (document.execCommand('copy')) show('invite-hint', say('copied'));
};
