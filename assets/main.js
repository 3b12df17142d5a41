// Puts the page together: the room, or the test of a connection at `/echo`.

import { composer } from './composer.js';
import { connect } from './connection.js';
import { echo } from './echo.js';
import { find } from './dom.js';
import { room } from './room.js';
import { showState } from './status.js';
import { language, say } from './texts.js';

const isEcho = location.pathname.endsWith('/echo');
const root = document.documentElement;
root.lang = language;
root.dataset.page = isEcho ? 'echo' : 'room';
if (isEcho) document.title = say('echoTitle');
find('messages').dataset.empty = say(isEcho ? 'echoEmpty' : 'empty');
for (const element of document.querySelectorAll('[data-text]')) element.textContent = say(element.dataset.text);
for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', say(element.dataset.label));

// Relative to the page, so that it holds under any path, and for https.
const address = () => new URL(page.socketPath(), location).href.replace(/^http/, 'ws');
const connection = connect(address, onState, (text) => page.hear(text));
const page = isEcho ? echo(connection) : room(connection);
const setConnected = composer(page.send);

let wasConnected = false;
function onState(state) {
	const isConnected = state.name === 'connected';
	showState(state);
	setConnected(isConnected);
	if (isConnected) page.connected?.();
	else if (wasConnected) page.disconnected();
	wasConnected = isConnected;
}

find('try-now').onclick = connection.open;
connection.open();

// Safari lays its keyboard over the page instead of resizing it.
visualViewport.onresize = () => {
	if (visualViewport.scale === 1) root.style.setProperty('--height', `${visualViewport.height}px`);
};

// All has arrived, and this browser knows it all.
find('unfinished').remove();
