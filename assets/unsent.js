// What was sent but has not come back. After a loss nobody knows whether it was heard, so the writer
// decides what becomes of it.

import { find, make } from './dom.js';
import { tab } from './storage.js';
import { say } from './texts.js';

// Most answers come sooner.
const WORTH_SHOWING = 1_000;

let entries = JSON.parse(tab.get('unsent') ?? '[]').map((entry) => ({ ...entry, doubtful: true }));
let send;

export function onSendAgain(how) {
	send = how;
	show();
}

export function keep(id, text) {
	entries.push({ id, text });
	save();
	setTimeout(show, WORTH_SHOWING);
}

// Takes out the first such entry, and says whether there was one.
export function confirm(id, text) {
	const entry = entries.find((entry) => entry.id === id && entry.text === text);
	if (entry) drop(entry);
	return Boolean(entry);
}

export function doubt() {
	for (const entry of entries) entry.doubtful = true;
	show();
}

function drop(entry) {
	entries = entries.filter((other) => other !== entry);
	save();
	if (!find('unsent').hidden) show();
}

function save() {
	tab.set('unsent', JSON.stringify(entries));
}

function show() {
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
