// The page at `/`: what the room's frames mean, and what was sent but has not come back.

import { asTime, find, make, say, show, tab } from './common.js';
import { add, follow } from './log.js';

// A notice is a whole frame, and the first prefix names the sender: anything else was typed.
const NOTICE = /^Client #(-?\d+) left the chat$/;
const MESSAGE = /^Client #(-?\d+) says: (.*)$/s;

// Short enough to be told, long enough that two seldom meet.
const RANDOM_BELOW = 100_000_000;

let current = parseId(tab.get('id') ?? '') ?? String(Math.floor(Math.random() * RANDOM_BELOW));
let changed;

export const id = () => current;

export function useId(chosen) {
	if (chosen === current) return;
	current = chosen;
	showId();
	changed();
}

// As the server writes it, or null if it takes no such number.
export function parseId(text) {
	const value = /^\s*-?\d{1,30}\s*$/.test(text) && BigInt(text);
	return value === BigInt.asIntN(64, value) ? String(value) : null;
}

function showId() {
	tab.set('id', current);
	show('you', `#${current}`);
	find('you').title = say('settings');
}

// `alertTo` is told of each message of others.
export function room(connection, alertTo) {
	let lostAt;

	function send(text) {
		if (!connection.send(text)) return false;
		keep(id(), text);
		follow();
		return true;
	}

	onSendAgain(send);
	showId();
	changed = () => {
		connection.open();
		// Nothing was missed.
		lostAt = undefined;
	};

	return {
		send,
		socketPath: () => `ws/${id()}`,
		hear(frame) {
			const [, leaver] = NOTICE.exec(frame) ?? [];
			const [, sender, text] = MESSAGE.exec(frame) ?? [];
			if (!sender) return add({ text: leaver ? say('left', leaver) : frame });
			// Others may have the same number: mine is what was sent from here.
			const mine = confirm(sender, text);
			const name = mine ? say('you') : say('client', sender);
			add({ sender, name, text, mine });
			if (!mine) alertTo(name, text);
		},
		connected() {
			if (lostAt) add({ text: say('gap', asTime(lostAt), asTime(Date.now())) });
			lostAt = undefined;
		},
		disconnected(heard) {
			lostAt = heard;
			doubt();
		},
	};
}

// After a loss nobody knows whether a text was heard, so the writer decides what becomes of it. Most
// answers come sooner.
const WORTH_SHOWING = 1_000;

let entries = JSON.parse(tab.get('unsent') ?? '[]').map((entry) => ({ ...entry, doubtful: true }));
let send;

function onSendAgain(how) {
	send = how;
	showUnsent();
}

function keep(id, text) {
	entries.push({ id, text });
	save();
	setTimeout(showUnsent, WORTH_SHOWING);
}

// Takes out the first such entry, and says whether there was one.
function confirm(id, text) {
	const entry = entries.find((entry) => entry.id === id && entry.text === text);
	if (entry) drop(entry);
	return Boolean(entry);
}

function doubt() {
	for (const entry of entries) entry.doubtful = true;
	showUnsent();
}

function drop(entry) {
	entries = entries.filter((other) => other !== entry);
	save();
	if (!find('unsent').hidden) showUnsent();
}

function save() {
	tab.set('unsent', JSON.stringify(entries));
}

function showUnsent() {
	find('unsent').hidden = entries.length === 0;
	find('unsent').querySelector('ul').replaceChildren(...entries.map(row));
}

function row(entry) {
	const choices = entry.doubtful
		? [button('sendAgain', () => send(entry.text) && drop(entry)), button('discard', () => drop(entry))]
		: [say('sending')];
	return make('li', {}, make('p', { dir: 'auto' }, entry.text), ...choices);
}

const button = (key, onclick) => make('button', { className: 'quiet', onclick }, say(key));
