// One WebSocket that comes back by itself. Its state is {name: 'connecting' | 'connected' | 'lost' |
// 'refused' | 'closed', code, reason, retryAt}; without `retryAt` only a person should try again.

import { ask } from './dom.js';

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
// To open, and to answer a text; and so long a connection must have held, or a server that accepts
// and drops would be hammered.
const PATIENCE = 10_000;
// Pages never see the server's pings, so silence is only a reason to ask.
const SILENCE = 25_000;
// Hidden tabs' timers rest a minute. Who rests longer slept, and was given up.
const SLEPT = 90_000;

const LOST = 1006;
const isFinal = (code) => [1002, 1003, 1007, 1008, 1009].includes(code) || code >= 4000;

// `address()` is asked before each try.
export function connect(address, onState, onText) {
	let state, socket, timer, opened, heard, asked, buffered;
	let attempts = 0;
	let ticked = Date.now();

	const become = (next) => onState((state = next));
	const isConnected = () => state.name === 'connected' && socket?.readyState === WebSocket.OPEN;

	// Lets go at once: a half-dead socket takes minutes to close.
	function leave() {
		clearTimeout(timer);
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.close();
		socket = null;
	}

	function open() {
		leave();
		become({ name: 'connecting' });
		const url = address();
		const mine = (socket = new WebSocket(url));
		opened = asked = 0;
		timer = setTimeout(lose, PATIENCE);
		mine.onopen = () => {
			clearTimeout(timer);
			opened = heard = Date.now();
			become({ name: 'connected' });
		};
		mine.onmessage = ({ data }) => {
			heard = Date.now();
			asked = 0;
			onText(data);
		};
		mine.onclose = async ({ code, reason }) => {
			clearTimeout(timer);
			if (!opened) {
				const refusal = await askWhy(url);
				if (mine === socket) retryAs(refusal);
			} else if (code === LOST) lose();
			else (isFinal(code) ? become : retryAs)({ name: 'closed', code, reason });
		};
	}

	function lose() {
		leave();
		retryAs({ name: 'lost' });
	}

	// Full jitter: after a restart the pages come back spread out.
	function retryAs(next) {
		const wait = Math.random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** attempts);
		attempts += 1;
		timer = setTimeout(open, wait);
		become({ ...next, retryAt: Date.now() + wait });
	}

	const wake = () => (state.retryAt ? open() : check());

	// A page can't ping, but it can ask.
	async function check() {
		if (!isConnected()) return;
		const checked = socket;
		heard = Date.now();
		try {
			await ask(location.pathname, { method: 'HEAD' });
		} catch {
			if (checked === socket && isConnected()) lose();
		}
	}

	function tick() {
		const now = Date.now();
		const slept = now - ticked > SLEPT;
		ticked = now;
		if (!isConnected()) return;
		if (now - opened > PATIENCE) attempts = 0;
		// A long text on a slow line moves.
		if (asked && socket.bufferedAmount !== buffered) asked = now;
		buffered = socket.bufferedAmount;
		if (slept) open();
		else if (asked && now - asked > PATIENCE) lose();
		else if (now - heard > SILENCE) check();
	}

	function send(text) {
		if (!isConnected()) return false;
		socket.send(text);
		asked ||= Date.now();
		return true;
	}

	addEventListener('online', wake);
	addEventListener('offline', check);
	addEventListener('visibilitychange', () => document.hidden || wake());
	addEventListener('pagehide', leave);
	addEventListener('pageshow', ({ persisted }) => persisted && open());
	setInterval(tick, 1_000);
	return { open, send };
}

// Browsers don't tell why a handshake failed, but the address can be asked by HTTP: by POST, which
// carries the page's origin, since that may be why.
async function askWhy(url) {
	try {
		const answer = await ask(url.replace(/^ws/, 'http'), { method: 'POST' });
		const { status, headers } = answer;
		const isText = headers.get('content-type')?.startsWith('text/plain');
		const reason = isText ? (await answer.text()).trim().slice(0, 300) : `HTTP ${status}`;
		return { name: 'refused', reason: status === 405 ? '' : reason };
	} catch {
		return { name: 'lost' };
	}
}
