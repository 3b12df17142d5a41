// Shows the connection's state, and counts down to the next try.

import { find } from './dom.js';
import { say, table } from './texts.js';

let shown = {};

export function showState(state) {
	// While tries follow a loss its words stay, or a screen reader would say them at each try.
	const retrying = state.name === 'connecting' && shown.name !== undefined;
	if (!retrying) find('status').textContent = words(state);
	shown = { ...state, retrying };
	document.documentElement.dataset.connection = state.name;
	find('try-now').hidden = ['connecting', 'connected'].includes(state.name);
	count();
}

function words({ name, code, reason }) {
	if (name === 'closed') return say(name, table[`closed${code}`] ? say(`closed${code}`) : reason || code);
	return say(name, reason || say('refusedUnsaid'));
}

function count() {
	const { retryAt, retrying } = shown;
	const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
	find('retry').textContent = retrying ? say('trying') : retryAt ? say('nextTry', seconds) : '';
}

setInterval(count, 250);
