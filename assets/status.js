// Shows the connection's state, and counts down to the next try.

import { find } from './dom.js';
import { say } from './texts.js';

let shown;

export function showState(state) {
	const retrying = state.name === 'connecting' && Boolean(shown?.retryAt ?? shown?.retrying);
	if (!retrying) {
		// Between tries the words stay, or a screen reader would say them at each one.
		find('status').textContent = words(state);
		find('connection').dataset.state = state.name;
		find('try-now').hidden = ['connecting', 'connected'].includes(state.name);
	}
	shown = { ...state, retrying };
	count();
}

function words({ name, code, reason }) {
	const why = { refused: say('refusedUnsaid'), closed: code }[name];
	return say(name, code === 1001 ? say('stopping') : reason || why);
}

function count() {
	const { retryAt, retrying } = shown;
	const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
	find('retry').textContent = retrying ? say('trying') : retryAt ? say('nextTry', seconds) : '';
}

setInterval(() => shown && count(), 250);
