// Where texts are written. Each stroke is kept until the text was sent.

import { find, show } from './dom.js';
import { tab } from './storage.js';
import { asNumber, say } from './texts.js';

// Bytes of UTF-8, as the server counts.
const limit = Number(document.documentElement.dataset.maxMessage);
const tooMany = (text) => new TextEncoder().encode(text).length - limit;

export function composer(send) {
	const form = find('composer');
	const input = find('messageText');
	const button = form.querySelector('button');

	function changed() {
		const excess = tooMany(input.value);
		const isTooLong = excess > 0;
		tab.set('draft', input.value);
		input.setAttribute('aria-invalid', isTooLong);
		show('hint', isTooLong ? say('tooLong', asNumber(limit)) : '');
		show('excess', isTooLong ? say('tooMany', asNumber(excess)) : '');
		// Where the browser can't size a field by its content.
		input.rows = Math.min(8, input.value.split('\n').length);
	}

	form.onsubmit = (event) => {
		event.preventDefault();
		input.focus();
		if (input.value === '' || tooMany(input.value) > 0) return;
		if (send(input.value)) {
			input.value = '';
			changed();
		} else {
			show('hint', say('notConnected'));
		}
	};
	input.onkeydown = (event) => {
		// An input method's Enter takes a word. In Safari only the code 229 tells.
		const composing = event.isComposing || event.keyCode === 229;
		if (event.key !== 'Enter' || event.shiftKey || composing) return;
		event.preventDefault();
		if (!event.repeat) form.requestSubmit();
	};
	input.oninput = changed;
	// A tap on the button must not close a phone's keyboard.
	button.onmousedown = (event) => event.preventDefault();

	input.placeholder = say('placeholder');
	// Somebody may have typed before this script came.
	input.value ||= tab.get('draft') ?? '';
	changed();
	if (!matchMedia('(pointer: coarse)').matches) input.focus();

	return (isConnected) => {
		button.setAttribute('aria-disabled', !isConnected);
		if (isConnected) changed();
	};
}
