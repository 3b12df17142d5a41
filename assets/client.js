// The protocol `roomd.1`: who this tab is, where it is in the room's log, and what it said that is not
// proven to be there.

import { tab } from './common.js';

const HISTORY = 50;
// Another tab with the same secret answers sooner.
const PATIENCE = 150;

// `view` is told of what the server sends, by its type, and of what changes: `showMissed`, `showUnproven`.
export function client(connection, view) {
	// What was said, with its number and time. What only the writer can decide is `doubtful`; if it was
	// refused, for a `reason`.
	let me, n, entries;
	let channel, cursor, you, isTaken, isStarted;
	restore();

	function restore() {
		me = tab.get('me');
		n = Number(tab.get('n') ?? 0);
		entries = JSON.parse(tab.get('unsent') ?? '[]');
		// Those of the page of 0.1 have no number.
		for (const entry of entries) entry.doubtful ||= !entry.n;
		channel = new BroadcastChannel(`roomd ${location.pathname}`);
		channel.onmessage = ({ data }) => {
			if (data.me !== me) return;
			if (data.isMine) isTaken = true;
			else if (isStarted) channel.postMessage({ me, isMine: true });
		};
	}

	function save() {
		tab.set('n', n);
		tab.set('unsent', JSON.stringify(entries));
		view.showUnproven(entries);
	}

	// Nobody knows what became of what was said under the old secret.
	function renew() {
		me = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))).slice(0, 22);
		me = me.replace(/\+/g, '-').replace(/\//g, '_');
		tab.set('me', me);
		doubt();
	}

	function doubt() {
		for (const entry of entries) entry.doubtful = true;
		save();
	}

	addEventListener('pagehide', () => channel.close());
	addEventListener('pageshow', ({ persisted }) => persisted && restore());

	const send = (object) => connection.send(JSON.stringify(object));
	const hand = ({ n, text }) => send({ t: 'msg', n, text });

	function drop(isGone) {
		entries = entries.filter((entry) => !isGone(entry));
		save();
	}

	const dropProven = (isProven) => drop((entry) => !entry.doubtful && isProven(entry.n));

	const heard = {
		hello(said) {
			const isResumed = Boolean(cursor);
			cursor = parse(said.cursor);
			you = said.you;
			n = Math.max(n, said.n ?? 0);
			dropProven((n) => n <= said.n);
			if (said.n === null) doubt();
			connection.ready();
			view.hello(said, isResumed);
			entries.filter(({ doubtful }) => !doubtful).forEach(hand);
		},
		epoch(said) {
			cursor = parse(said.cursor);
			view.showMissed(said.missed);
		},
		msg(said) {
			if (said.seq <= cursor.seq) return;
			cursor.seq = said.seq;
			view.msg(said);
			if (said.by === you) dropProven((n) => n === said.n);
		},
		away: () => connection.ready('away'),
		back: () => connection.ready(),
		ack: (said) => dropProven((n) => n === said.n),
		err(said) {
			const refused = entries.find(({ n }) => n === said.n);
			if (refused) Object.assign(refused, { doubtful: true, reason: said.text });
			save();
			view.err(said);
		},
	};

	return {
		// A duplicated tab has all that the other keeps: it needs a secret of its own, and what was said is
		// the other's.
		async start() {
			if (me) {
				channel.postMessage({ me });
				await new Promise((done) => setTimeout(done, PATIENCE));
			}
			isStarted = true;
			if (isTaken) entries = [];
			if (!me || isTaken) renew();
			save();
		},
		renew,
		cursor: () => cursor,
		you: () => you,
		greet(name) {
			send({ t: 'hello', me, name, since: cursor && `${cursor.epoch}.${cursor.seq}`, history: HISTORY });
		},
		hear(text) {
			const said = JSON.parse(text);
			(heard[said.t] ?? view[said.t])?.(said);
		},
		say(text) {
			if (!connection.isReady()) return false;
			n += 1;
			entries.push({ n, text, at: Date.now() });
			save();
			return hand(entries.at(-1));
		},
		giveUp: (entry) => drop((other) => other === entry),
		rename: (name) => connection.isReady() && send({ t: 'name', name }),
		probe: () => send({ t: 'ping' }),
	};
}

export function parse(cursor) {
	const [epoch, seq] = cursor.split('.');
	return { epoch, seq: Number(seq) };
}
