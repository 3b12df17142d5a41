// Who is here: the list beside the log, and notices of those who come and go.

import { asList, asNumber, find, isolated, make, say, show } from './common.js';
import { add, isNewest, refresh, tagged, toggleTags } from './log.js';

// Most of those who were lost come back sooner.
const PATIENCE = 10_000;
const MOST_NAMES = 3;

// Tag and name of each; several clients may have one number. Undefined in a crowd.
let here;
let you;
let count = 0;
// Tag and timer of each who may come back.
let lost = [];
let scheduled;

const entryOf = (tag) => here?.find(([by]) => by === tag);

function meet(who) {
	here = who;
	for (const { timer } of lost) clearTimeout(timer);
	lost = [];
}

function leave(by) {
	const entry = entryOf(by);
	if (!entry) return;
	here.splice(here.indexOf(entry), 1);
	tell(...entry, false);
	draw();
}

const forget = (one) => (lost = lost.filter((other) => other !== one));

const heard = {
	hello(said) {
		you = said.you;
		meet(said.who);
	},
	who: ({ who }) => meet(who),
	count: () => meet(),
	join({ by, name }) {
		const back = lost.find((other) => other.by === by);
		if (back) {
			clearTimeout(back.timer);
			forget(back);
			entryOf(by)[1] = name;
		} else {
			here?.push([by, name]);
			tell(by, name, true);
		}
	},
	leave({ by, lost: isLost }) {
		if (!isLost) return leave(by);
		const one = { by };
		one.timer = setTimeout(() => {
			forget(one);
			leave(by);
		}, PATIENCE);
		lost.push(one);
	},
	name({ by, name }) {
		const entry = entryOf(by) ?? [by, by];
		add({ text: say('renamed', isolated(entry[1]), isolated(name)) });
		entry[1] = name;
	},
};

export function hear(said) {
	count = said.count ?? count;
	heard[said.t](said);
	draw();
}

// All who come or go between two messages share a notice; who is back was not away.
let notice;

function tell(by, name, isHere) {
	if (!notice || !isNewest(notice)) notice = { changes: new Map(), isQuiet: true };
	const { changes } = notice;
	if (isHere && changes.get(by)?.isHere === false) changes.delete(by);
	else changes.set(by, { name, isHere });
	const all = [...changes.values()];
	const phrase = (key, isHere) => {
		const names = all.filter((change) => change.isHere === isHere).map(({ name }) => isolated(name));
		const more = names.length - MOST_NAMES;
		if (more > 1) names.splice(MOST_NAMES, more, say('others', asNumber(more)));
		return names.length > 0 ? [say(key, asList(names))] : [];
	};
	notice.text = [...phrase('joined', true), ...phrase('left', false)].join(' · ');
	if (isNewest(notice)) refresh(notice);
	else add(notice);
}

function draw() {
	scheduled ??= setTimeout(() => {
		scheduled = undefined;
		const number = say('here', asNumber(count + lost.length));
		show('here', number);
		show('head-count', number);
		const all = [...(here ?? [])].sort(([, one], [, other]) => one.localeCompare(other));
		find('people').querySelector('ul').replaceChildren(...all.map(row));
	});
}

function row([by, name]) {
	const self = make('span', { className: 'self' }, by === you ? say('you') : '');
	return make('li', {}, make('bdi', {}, name), tagged(by === name ? '' : by), self);
}

const open = (isOpen) => {
	find('people').toggleAttribute('data-open', isOpen);
	find('here').setAttribute('aria-expanded', isOpen);
};
find('here').onclick = () => open(!find('people').hasAttribute('data-open'));
find('tags').onclick = toggleTags;
find('people').onkeydown = find('here').onkeydown = ({ key }) => {
	if (key !== 'Escape') return;
	open(false);
	find('here').focus();
};
find('log').addEventListener('pointerdown', () => open(false));
open(false);
