// Puts the page together: the room, or the test of a connection at `/echo`.

import { asNumber, find, isTouch, language, say, show, tab } from './common.js';
import { connect } from './connection.js';
import { isBlank } from './log.js';
import { roomPage } from './room.js';

const isEcho = location.pathname.endsWith('/echo');
const root = document.documentElement;
root.lang = language;
root.dataset.page = isEcho ? 'echo' : 'room';
for (const element of document.querySelectorAll('[data-text], [data-label]')) {
	const { text, label } = element.dataset;
	if (text) element.textContent = say(text);
	else element.setAttribute('aria-label', say(label));
}

let shown = {};

function showState(state) {
	const { name, reason, code, retryAt } = state;
	const retrying = name === 'connecting' && (shown.retryAt ?? shown.retrying);
	if (!retrying) {
		// Between tries the words stay, or a screen reader would say them at each one.
		show('status', say(name, reason || code || say('refusedUnsaid')));
		find('connection').dataset.state = name;
		find('try-now').hidden = !(retryAt || code);
	}
	shown = { ...state, retrying };
	count();
}

function count() {
	const { retryAt, retrying } = shown;
	const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
	show('retry', retrying ? say('connecting') : retryAt ? say('nextTry', seconds) : '');
}

setInterval(count, 250);

// Where texts are written. Each stroke is kept until the text was sent.

const form = find('composer');
const input = find('messageText');
const button = form.querySelector('button');
const sizesItself = CSS.supports('field-sizing', 'content');

// The server counts bytes of UTF-8.
const limit = () => Number(root.dataset.maxMessage);
const excess = () => new TextEncoder().encode(input.value).length - limit();
// Half of an emoji has no bytes: a browser would send this in its place.
const wellFormed = (text) => text.replace(/\p{Cs}/gu, '\ufffd');
const isReady = () => !isBlank(input.value) && excess() <= 0;

function changed() {
	const isTooLong = excess() > 0;
	tab.set('draft', input.value);
	input.setAttribute('aria-invalid', isTooLong);
	show('hint', isTooLong ? say('tooLong', asNumber(limit())) : '');
	show('excess', isTooLong ? say('tooMany', asNumber(excess())) : '');
	showReady();
	fit();
}

function showReady() {
	button.setAttribute('aria-disabled', !(connection.isReady() && isReady()));
}

function fit() {
	if (sizesItself) return;
	input.style.height = 'auto';
	input.style.height = `${input.scrollHeight + input.offsetHeight - input.clientHeight}px`;
}

form.onsubmit = (event) => {
	event.preventDefault();
	input.focus();
	if (!isReady()) return;
	const text = wellFormed(input.value);
	if (page.send(text)) {
		tab.set('last', text);
		input.value = '';
		changed();
	} else {
		show('hint', say('notConnected'));
	}
};
// A touch keyboard has no Shift+Enter, and presses Shift by itself: its Enter makes a line, and the
// button sends. Elsewhere Enter sends. With Control or Command it does everywhere.
input.onkeydown = (event) => {
	// An input method's Enter takes a word. In Safari only the code 229 tells.
	const composing = event.isComposing || event.keyCode === 229;
	if (event.key === 'ArrowUp' && !input.value && tab.get('last')) {
		event.preventDefault();
		input.value = tab.get('last');
		changed();
	}
	if (event.key !== 'Enter' || composing) return;
	const makesLine = isTouch() || event.shiftKey;
	if (makesLine && !event.ctrlKey && !event.metaKey) return;
	event.preventDefault();
	if (!event.repeat) form.requestSubmit();
};
input.oninput = changed;
addEventListener('resize', fit);
// A tap on the button must not close a phone's keyboard.
button.onmousedown = (event) => event.preventDefault();
input.placeholder = say('placeholder');

let page;
const connection = connect({
	// Relative to the page, so that it holds under any path, and for https.
	url: () => new URL(page.socketPath(), location).href.replace(/^http/, 'ws'),
	protocol: isEcho ? [] : 'roomd.1',
	greet: () => page.greet(),
	hear: (text) => page.hear(text),
	probe: () => page.probe(),
	state: onState,
});
// What a room can begin without comes after what it can't.
const extras = isEcho ? import('./echo.js') : Promise.all([import('./people.js'), import('./dialogs.js')]);
page = isEcho ? (await extras).echo(connection) : roomPage(connection, extras);
// Somebody may have typed before this script came.
input.value ||= tab.get('draft') ?? '';
changed();
if (!isTouch()) input.focus();

function onState(state) {
	showState(state);
	if (connection.isReady()) return changed();
	showReady();
	page.disconnected?.();
}

find('try-now').onclick = () => {
	// Another tab has joined with the same secret.
	if (shown.code === 4409) page.renew();
	connection.open();
};
await page.start?.();
connection.open();

// Safari lays its keyboard over the page instead of resizing it.
visualViewport.onresize = () => {
	if (visualViewport.scale === 1) root.style.setProperty('--height', `${visualViewport.height}px`);
};

// All has arrived, and this browser knows it all.
await extras;
find('unfinished').remove();
