// The page of a room: what its objects mean, and what becomes of one's own messages.

import { asNumber, ask, device, find, isolated, make, objects, say, show } from './common.js';
import { client, parse } from './client.js';
import { add, body, follow, markUnread, oldest, prepend, showUnproven } from './log.js';

// Most proofs come sooner.
const WORTH_SHOWING = 1_000;
// The server says so twice a second.
const HELD = 2_000;

export const room = location.pathname.split('/').pop() || 'lobby';

// Of words with spaces between.
const LETTER = /[\p{Script=Latin}\p{N}_]/u;

export const titleOf = ({ room, title }) => (title ? `${title} · ${room}` : room === 'lobby' ? 'roomd' : room);

let talk;
let before = '';
// Undefined while there is none.
export const wantedName = () => device.get('name') || undefined;

// Takes another name, for good.
export function rename(wish) {
	const wanted = wish.trim().replace(/\s+/g, ' ').normalize('NFC');
	if (!wanted || wanted === wantedName()) return;
	before = wantedName() ?? '';
	device.set('name', wanted);
	talk.rename(wanted);
}

// `extras` come later: the people, who are told of all that concerns them, and the alerts.
export function roomPage(connection, extras) {
	const afterwards = (action) => extras.then(action, () => {});
	const tell = (said) => afterwards(([people]) => people.hear(said));
	let clock = 0;
	let held = {};
	let unproven = [];
	let shown = '';
	let hasEarlier = false;
	let firstUnread, mention;
	let name;

	function showTitle(said) {
		const title = titleOf(said);
		if (find('room').textContent === title) return;
		show('room', title);
		document.title = title === 'roomd' ? title : `${title} · roomd`;
	}

	function showName(given) {
		show('you', given);
		const edge = (letter) => (LETTER.test(letter) ? LETTER.source : '[]');
		const escaped = given.replace(/[\\^$.*+?()[\]{}|\/]/g, '\\$&');
		mention = new RegExp(`(^|(?!${edge(given[0])})[^])${escaped}(?!${edge(given.at(-1))})`, 'iu');
		// Says once that a name is taken.
		const wanted = wantedName();
		if (given === wanted) find('naming').hidden = true;
		else if (!wanted) !device.get('nameless') && askName();
		else if (given !== name) askName(say('taken', isolated(wanted), isolated(given)));
		name = given;
	}

	function askName(hint = '') {
		find('naming').hidden = false;
		find('new-name').value ||= wantedName() ?? '';
		show('naming-hint', hint);
	}

	const entryOf = ({ seq, at, by, name, text }) => {
		const mine = by === talk.you();
		return {
			sender: by,
			name: mine ? say('you') : name,
			tag: by === name ? '' : by,
			text,
			mine,
			isMention: !mine && mention.test(text),
			at: new Date(at - clock),
			seq,
		};
	};

	function showMissed(count) {
		// Numbers may have begun anew.
		if (count === null) hasEarlier = false;
		if (count !== 0) add({ text: count === null ? say('gap') : say('missed', asNumber(count)), divides: 'gap' });
		find('earlier').hidden = !hasEarlier;
	}

	function stateOf({ n, at, doubtful, reason }) {
		const now = Date.now();
		if (doubtful) return reason ? say('refused', reason) : say('unsent');
		if (n === held.n && now < held.until) return say('held');
		return now - at < WORTH_SHOWING ? '' : say('sending');
	}

	// Rows stay while they are the same, or a button would lose its focus.
	function showStates() {
		const states = unproven.map(stateOf);
		const now = JSON.stringify([unproven, states]);
		if (now === shown) return;
		shown = now;
		showUnproven(unproven.map((entry, index) => row(entry, states[index])));
	}
	setInterval(showStates, 1_000);

	function row(entry, state) {
		const parts = make('div', {}, body(entry.text), make('span', { className: 'state' }, state));
		const choose = (key, onclick) => parts.append(make('button', { className: 'quiet', onclick }, say(key)));
		if (entry.doubtful) {
			choose('sendAgain', () => talk.say(entry.text) && talk.giveUp(entry));
			choose('discard', () => talk.giveUp(entry));
		}
		return make('li', { className: 'message mine' }, parts);
	}

	talk = client(connection, {
		hello(said, isResumed) {
			clock = said.now - Date.now();
			document.documentElement.dataset.maxMessage = said.max;
			showTitle(said);
			showName(said.name);
			find('messages').dataset.empty = say('empty');
			if (!isResumed) {
				const { epoch, seq } = parse(said.cursor);
				hasEarlier = seq > 0;
				const read = parse(device.get(`read ${room}`) ?? '');
				if (read.epoch === epoch) firstUnread = read.seq + 1;
			}
			showMissed(said.missed);
			tell(said);
		},
		msg(said) {
			const entry = entryOf(said);
			if (firstUnread <= said.seq && !entry.mine) {
				markUnread(entry.at);
				firstUnread = undefined;
			}
			add(entry);
			if (!entry.mine) afterwards(([, { alertTo }]) => alertTo(said.name, said.text, entry.isMention));
		},
		name(said) {
			if (said.by === talk.you()) showName(said.name);
			tell(said);
		},
		err({ code, text }) {
			if (code !== 'name') return;
			device.set('name', before);
			askName(say('nameRefused', text));
		},
		wait({ n }) {
			held = { n, until: Date.now() + HELD };
			showStates();
		},
		join: tell,
		leave: tell,
		count: tell,
		who: tell,
		showMissed,
		showUnproven(entries) {
			unproven = entries;
			showStates();
		},
	});

	find('naming').onsubmit = (event) => {
		event.preventDefault();
		if (event.submitter.id === 'later') device.set('nameless', 'yes');
		else rename(find('new-name').value);
		find('naming').hidden = true;
		find('messageText').focus();
	};

	find('earlier').onclick = async () => {
		const { epoch, seq } = talk.cursor();
		const before = (oldest() ?? seq + 1) - 1;
		const answer = await ask(`${room}/json?poll=1&before=${epoch}.${before}`).catch(() => ({}));
		const said = (await objects(answer)).filter(({ t }) => t === 'msg');
		prepend(said.map(entryOf));
		// Without an answer one may ask again.
		hasEarlier = !answer.status || said[0]?.seq > 1;
		showMissed(0);
		if (!hasEarlier) find('log').focus();
	};

	// Where the unread begins at the next visit.
	addEventListener('visibilitychange', () => {
		const { epoch, seq } = talk.cursor() ?? {};
		if (document.hidden && epoch) device.set(`read ${room}`, `${epoch}.${seq}`);
	});

	find('you').title = say('settings');
	showTitle({ room });

	return {
		...talk,
		socketPath: () => `${room}/ws`,
		greet: () => talk.greet(wantedName()),
		send(text) {
			if (!talk.say(text)) return false;
			follow();
			return true;
		},
	};
}
