// One WebSocket that comes back by itself. No page elements here.
//
// States: {name: 'connecting'}, {name: 'connected'}, and with `retryAt`, or without where only a
// person should try again: {name: 'lost'}, {name: 'refused', reason}, {name: 'closed', code, reason}.

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
// A server that accepts and drops must not be hammered: attempts count on until one has held.
const HELD = 10_000;
const OPENING = 10_000;
const ANSWER = 5_000;
// Pages never see the server's pings, so silence is only a reason to ask.
const SILENCE = 25_000;
// Each text is answered to its sender: no answer is a proof.
const OWN_ANSWER = 10_000;
// Timers of hidden tabs may rest a minute. After a longer rest, which is the machine's sleep, the
// server has given up on a page that answered no ping.
const SLEPT = 90_000;

const LOST = 1006;
// Trying again would end the same way.
const isFinal = (code) => [1002, 1003, 1007, 1008, 1009].includes(code) || code >= 4000;

// `address()` is asked before each try: it may change between two.
export function connect(address, onState, onText) {
	let state, socket, timer, heard, asked, buffered;
	let attempts = 0;
	let ticked = Date.now();

	const become = (next) => onState((state = next));
	const isConnected = () => state.name === 'connected' && socket?.readyState === WebSocket.OPEN;

	// Lets go at once: a half-dead socket would take minutes to report its close.
	function leave() {
		clearTimeout(timer);
		const old = socket;
		socket = null;
		old?.close();
	}

	function open() {
		leave();
		become({ name: 'connecting' });
		const url = address();
		const mine = (socket = new WebSocket(url));
		let opened;
		asked = 0;
		timer = setTimeout(lose, OPENING);
		mine.onopen = () => {
			if (mine !== socket) return;
			clearTimeout(timer);
			opened = heard = Date.now();
			become({ name: 'connected' });
		};
		mine.onmessage = ({ data }) => {
			if (mine !== socket) return;
			heard = Date.now();
			asked = 0;
			onText(data);
		};
		mine.onclose = async ({ code, reason }) => {
			if (mine !== socket) return;
			clearTimeout(timer);
			if (Date.now() - opened >= HELD) attempts = 0;
			if (!opened) {
				const refusal = await askWhy(url);
				if (mine === socket) retryAs(refusal);
			} else if (code === LOST) lose();
			else if (isFinal(code)) become({ name: 'closed', code, reason });
			else retryAs({ name: 'closed', code, reason });
		};
	}

	function lose() {
		leave();
		retryAs({ name: 'lost' });
	}

	// Full jitter: after a restart the pages come back spread out, not all at once.
	function retryAs(next) {
		const wait = Math.random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** attempts);
		attempts += 1;
		timer = setTimeout(open, wait);
		become({ ...next, retryAt: Date.now() + wait });
	}

	// The network or the reader is back: no time is better.
	const wake = () => (state.retryAt ? open() : check());

	// A page can't ping, but it can ask the server for anything at all.
	async function check() {
		if (!isConnected()) return;
		const checked = socket;
		heard = Date.now();
		try {
			await fetch(location.pathname, { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(ANSWER) });
		} catch {
			if (checked === socket && isConnected()) lose();
		}
	}

	function tick() {
		const now = Date.now();
		const slept = now - ticked > SLEPT;
		ticked = now;
		if (!isConnected()) return;
		// A long text on a slow line: no answer yet, but it moves.
		if (asked && socket.bufferedAmount !== buffered) asked = now;
		buffered = socket.bufferedAmount;
		if (slept) open();
		else if (asked && now - asked > OWN_ANSWER) lose();
		else if (now - heard > SILENCE) check();
	}

	// Says whether the text was handed over.
	function send(text) {
		if (!isConnected()) return false;
		socket.send(text);
		asked ||= Date.now();
		return true;
	}

	addEventListener('online', wake);
	addEventListener('offline', check);
	document.addEventListener('visibilitychange', () => document.hidden || wake());
	// Who looks at another page has left; the back button may bring this one back as it was.
	addEventListener('pagehide', leave);
	addEventListener('pageshow', ({ persisted }) => persisted && open());
	setInterval(tick, 1_000);
	return { open, send, isConnected };
}

// Browsers keep to themselves why a handshake failed, but the same address can be asked again by HTTP.
async function askWhy(url) {
	try {
		const answer = await fetch(url.replace(/^ws/, 'http'), { cache: 'no-store', signal: AbortSignal.timeout(ANSWER) });
		const isText = answer.headers.get('content-type')?.startsWith('text/plain');
		const reason = isText ? (await answer.text()).trim().slice(0, 300) : `${answer.status} ${answer.statusText}`;
		// 426 is right for a plain request, so it says nothing about the handshake.
		return { name: 'refused', reason: answer.status === 426 ? '' : reason };
	} catch {
		return { name: 'lost' };
	}
}
