// One WebSocket that comes back by itself. Its state is {name: 'connecting' | 'connected' | 'away' | 'lost' |
// 'refused' | 'closed', code, reason, retryAt}; without `retryAt` only a person should try again.

import { ask } from './common.js';

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
// To open, to answer, and to have held, lest a server that accepts and drops be hammered.
const PATIENCE = 10_000;
// Pages never see the server's pings, so silence is only a reason to ask.
const SILENCE = 25_000;
// When timers rested so long, the page did, and maybe the machine.
const RESTED = 5_000;

const LOST = 1006;
const NO_HELLO = 4408;
const isFinal = (code) => [1002, 1003, 1007, 1008, 1009].includes(code) || (code >= 4000 && code !== NO_HELLO);

// `page` is asked for its `url` before each try, is told to `greet`, to `hear` each text, and of each
// `state`; its `probe` sends what is sure to be answered.
export function connect(page) {
	let state, socket, timer, asked, buffered;
	// Since when the page may speak; 0 until it is `ready`.
	let since = 0;
	let attempts = 0;
	let silent = 0;
	let ticked = Date.now();

	function become(next) {
		// So says a server that cannot reach its engine.
		if (/^the room cannot be reached/.test(next.reason)) next.name = 'away';
		page.state((state = next));
	}
	const isOpen = () => socket?.readyState === WebSocket.OPEN;
	const isReady = () => since && isOpen();

	// Lets go at once: a half-dead socket takes minutes to close.
	function leave() {
		clearTimeout(timer);
		since = 0;
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.close();
		socket = null;
	}

	function open() {
		leave();
		become({ name: 'connecting' });
		const url = page.url();
		const mine = (socket = new WebSocket(url, page.protocol));
		let isOpened = false;
		asked = 0;
		timer = setTimeout(lose, PATIENCE);
		mine.onopen = () => {
			isOpened = true;
			page.greet();
		};
		mine.onmessage = ({ data }) => {
			silent = Date.now();
			asked = 0;
			page.hear(data);
		};
		mine.onclose = async ({ code, reason }) => {
			clearTimeout(timer);
			since = 0;
			if (!isOpened) {
				const refusal = await askWhy(url);
				if (mine === socket) retryAs(refusal);
			} else if (code === LOST) lose();
			else (isFinal(code) ? become : retryAs)({ name: 'closed', code, reason });
		};
	}

	function ready(name = 'connected') {
		clearTimeout(timer);
		since = silent = Date.now();
		become({ name });
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

	function check() {
		if (isReady() && !asked) page.probe();
	}

	const wake = () => (state?.retryAt ? open() : check());

	function tick() {
		const now = Date.now();
		const hasRested = now - ticked > RESTED;
		ticked = now;
		if (!isReady()) return;
		if (now - since > PATIENCE) attempts = 0;
		// A long text on a slow line moves, and nothing is heard by a page that rests.
		if (asked && (hasRested || socket.bufferedAmount !== buffered)) asked = now;
		buffered = socket.bufferedAmount;
		if (asked && now - asked > PATIENCE) lose();
		else if (hasRested || now - silent > SILENCE) check();
	}

	function send(text) {
		if (!isOpen()) return false;
		socket.send(text);
		asked ||= Date.now();
		return true;
	}

	addEventListener('online', wake);
	addEventListener('offline', check);
	addEventListener('visibilitychange', () => document.hidden || wake());
	// The page is put aside while it is connected.
	addEventListener('pagehide', leave);
	addEventListener('pageshow', ({ persisted }) => persisted && open());
	setInterval(tick, 1_000);
	return { open, ready, send, isReady };
}

// Browsers don't tell why a handshake failed, but HTTP does: by POST, which carries the page's origin,
// since that may be why.
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
