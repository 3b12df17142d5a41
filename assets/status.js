// Shows the connection's state, and counts down to the next try.

import { find, show } from './dom.js';
import { say } from './texts.js';

let shown = {};

export function showState(state) {
	const { name, reason, code } = state;
	const retrying = name === 'connecting' && (shown.retryAt ?? shown.retrying);
	if (!retrying) {
		// Between tries the words stay, or a screen reader would say them at each one.
		show('status', say(name, reason || code || say('refusedUnsaid')));
		find('connection').dataset.state = name;
		find('try-now').hidden = name.startsWith('connect');
	}
	shown = { ...state, retrying };
	count();
}

function count() {
	const { retryAt, retrying } = shown;
	const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
	show('retry', retrying ? say('trying') : retryAt ? say('nextTry', seconds) : '');
}

setInterval(count, 250);
