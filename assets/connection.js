// One WebSocket that comes back by itself. Its state is {name: 'connecting' | 'connected' | 'lost' |
// 'refused' | 'closed', code, reason, retryAt, heard}; without `retryAt` only a person should try again,
// and until `heard` all that was sent has come.

import { ask } from './common.js';

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
// To open, and to answer a text; and so long a connection must have held, or a server that accepts
// and drops would be hammered.
const PATIENCE = 10_000;
// Pages never see the server's pings, so silence is only a reason to ask.
const SILENCE = 25_000;
// When timers rested so long, the page did: what came meanwhile is heard only now.
const RESTED = 5_000;
// A machine that slept for so long did not answer the server's pings. A browser does, though its page
// rests.
const SLEPT = 60_000;

const LOST = 1006;
const isFinal = (code) => [1002, 1003, 1007, 1008, 1009].includes(code) || code >= 4000;

// `address()` is asked before each try.
export function connect(address, onState, onText) {
	let state, socket, timer, opened, heard, asked, buffered;
	let attempts = 0;
	let silent = 0;
	// Since when the page rested, until it has caught up, and whether anything had come meanwhile.
	let rested, cameMeanwhile;
	let ticked = Date.now();
	let ran = performance.now();

	const become = (next) => onState((state = { ...next, heard }));
	const isConnected = () => state?.name === 'connected' && socket?.readyState === WebSocket.OPEN;

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
		rested = undefined;
		timer = setTimeout(lose, PATIENCE);
		mine.onopen = () => {
			clearTimeout(timer);
			opened = heard = silent = Date.now();
			become({ name: 'connected' });
		};
		mine.onmessage = ({ data }) => {
			hear();
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

	function hear() {
		silent = Date.now();
		if (silent - ticked > RESTED) rest();
		cameMeanwhile = true;
		// Nobody knows when it came.
		heard = rested ?? silent;
		asked = 0;
	}

	function rest() {
		if (rested) return;
		rested = ticked;
		cameMeanwhile = false;
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

	// A page can't ping, but it can ask. What had come before the answer is heard before it.
	async function check() {
		if (!isConnected()) return;
		const checked = socket;
		silent = Date.now();
		try {
			await ask(location.pathname, { method: 'HEAD' });
		} catch {
			if (checked === socket && isConnected()) lose();
		}
	}

	// Who was asleep asks first, and lets in what is queued.
	async function wakeUp(slept) {
		const woken = socket;
		rest();
		await check();
		if (woken !== socket || !isConnected()) return;
		if (slept > SLEPT && !cameMeanwhile) open();
		rested = undefined;
	}

	function tick() {
		const now = Date.now();
		const pause = now - ticked;
		// The monotonic clock sleeps with the machine.
		const slept = pause - (performance.now() - ran);
		if (isConnected() && pause > RESTED) wakeUp(slept);
		ticked = now;
		ran = performance.now();
		if (!isConnected()) return;
		if (now - opened > PATIENCE) attempts = 0;
		// A long text on a slow line moves.
		if (asked && (pause > RESTED || socket.bufferedAmount !== buffered)) asked = now;
		buffered = socket.bufferedAmount;
		if (asked && now - asked > PATIENCE) lose();
		else if (now - silent > SILENCE) check();
	}

	// The page is put aside while it is connected.
	function putAside() {
		if (isConnected()) heard = Date.now();
		leave();
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
	addEventListener('pagehide', putAside);
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
