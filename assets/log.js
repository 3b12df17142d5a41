// What was said. It takes entries at any speed, draws once per frame, and follows the newest row
// unless the reader has scrolled away.

import { asDay, asTime, copyMarked, find, isTouch, make, say, show } from './common.js';

const MAX_ROWS = 1_000;
// Of rounding.
const AT_END = 2;
// A scroll begins slowly, and must not be undone meanwhile.
const HOLD = 20;

const scroller = find('log');
const list = find('messages');

let queue = [];
let scheduled = false;
let following = true;
let missed = 0;
let top = 0;
let rest = 0;
// Frames.
let holding = 0;
let previous;
let newest;
let width = scroller.clientWidth;
let anchor;
// Rows that the reader has asked for.
let extra = 0;
// Rows of what is not in the log yet, when they have changed.
let unproven;
// Where the unread begins, until the reader has been there.
let unread;

export const isNewest = (entry) => entry === newest;

// With a sender it is a message, if it `divides` a line, else a notice.
export function add(entry) {
	entry.at ??= (entry.divides && newest?.at) || new Date();
	if (entry.sender && !entry.mine && (document.hidden || !following)) {
		markUnread(entry.at);
		missed += 1;
	}
	queue.push((newest = entry));
	if (queue.length > 2 * MAX_ROWS) queue = queue.slice(-MAX_ROWS);
	schedule();
}

// What comes next is unread. The line stays until there is another.
export function markUnread(at) {
	if (unread) return;
	keepPlace(() => list.querySelector('.unread')?.remove());
	unread = { text: say('unread'), divides: 'unread', at };
	queue = [...queue.filter(({ divides }) => divides !== 'unread'), (newest = unread)];
}

export function refresh(entry) {
	entry.row?.replaceWith((entry.row = notice(entry)));
	schedule();
}

export function showUnproven(rows) {
	unproven = rows;
	schedule();
}

function schedule() {
	if (scheduled) return;
	scheduled = true;
	// A hidden tab gets no frames.
	if (document.hidden) setTimeout(draw, 250);
	else requestAnimationFrame(draw);
}

export const oldest = () => list.querySelector('.message')?.seq;

// What is being read stays where it is, while rows above it change.
function keepPlace(change) {
	if (following) return change();
	const place = () => list.getBoundingClientRect().bottom;
	const before = place();
	change();
	const wanted = scroller.scrollTop + place() - before + rest;
	scroller.scrollTop = wanted;
	// Browsers round to the screen's pixels.
	rest = wanted - scroller.scrollTop;
}

export function prepend(entries) {
	const rows = make('ol', {}, ...rowsOf(entries));
	const first = list.firstChild;
	extra += rows.children.length;
	keepPlace(() => {
		if (first?.textContent === [...rows.querySelectorAll('.day')].at(-1)?.textContent) first.remove();
		list.prepend(...rows.children);
	});
}

export function follow() {
	following = true;
	extra = 0;
	scroller.scrollTop = scroller.scrollHeight;
	top = scroller.scrollTop;
	showJump();
}

function draw() {
	scheduled = false;
	const fresh = rowsOf(queue.splice(0).slice(-MAX_ROWS), previous);
	previous = newest ?? previous;
	list.append(...fresh);
	if (unproven) find('unsent').replaceChildren(...unproven);
	unproven = undefined;
	keepPlace(prune);
	if (following && holding === 0) follow();
	else showJump();
}

function rowsOf(entries, before) {
	const rows = [];
	for (const entry of entries) {
		if (entry.at.toDateString() !== before?.at.toDateString()) {
			rows.push(day(entry));
			before = undefined;
		}
		entry.row = (entry.sender ? message : entry.divides ? divider : notice)(entry, before);
		rows.push(entry.row);
		before = entry;
	}
	return rows;
}

// The first row stays a day, until the next day follows it.
function prune() {
	while (list.children.length > MAX_ROWS + extra) {
		const [first, second] = list.children;
		(second.className === 'day' ? first : second).remove();
	}
}

function showJump() {
	if (following && !document.hidden) unread = undefined;
	if (following) missed = 0;
	find('jump').hidden = following;
	show('jump', missed > 0 ? say('newMessages', missed) : say('toEnd'));
}

// The end also moves away from a reader who does nothing.
scroller.onscroll = () => {
	// Rows that have another width have other places, until they are put right.
	if (scroller.clientWidth !== width) return;
	const atEnd = scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop < AT_END;
	following = atEnd || (following && scroller.scrollTop >= top);
	top = scroller.scrollTop;
	anchor = following ? undefined : firstInSight();
	showJump();
};
for (const start of ['wheel', 'keydown', 'touchmove']) {
	scroller[`on${start}`] = ({ key }) => {
		if (key === 'End') follow();
		if (holding === 0) requestAnimationFrame(release);
		holding = HOLD;
	};
}
function release() {
	holding -= 1;
	if (holding > 0) requestAnimationFrame(release);
	else if (following) follow();
}
find('jump').onclick = () => {
	follow();
	// A phone's keyboard would take half of what was jumped to.
	(isTouch() ? scroller : find('messageText')).focus();
};

// The first row that is seen, and which part of it is above the top.
function firstInSight() {
	const row = [...list.children].find((row) => row.offsetTop + row.offsetHeight > scroller.scrollTop);
	return row && { row, part: Math.max(0, scroller.scrollTop - row.offsetTop) / row.offsetHeight };
}

// A turned phone breaks all lines elsewhere.
function resized() {
	if (following) follow();
	else if (scroller.clientWidth !== width && anchor?.row.isConnected) {
		const { row, part } = anchor;
		scroller.scrollTop = row.offsetTop + part * row.offsetHeight;
		top = scroller.scrollTop;
	}
	width = scroller.clientWidth;
}
new ResizeObserver(resized).observe(scroller);
addEventListener('visibilitychange', draw);

// Entries as rows. A message's never changes, or a screen reader would say it again.

const GROUPED_WITHIN = 5 * 60_000;

function message({ sender, name, tag = '', text, mine, isMention, at, seq }, previous) {
	const grouped = previous?.sender === sender && previous.name === name && at - previous.at < GROUPED_WITHIN;
	const className = `message${mine ? ' mine' : ''}${grouped ? ' grouped' : ''}${isMention ? ' mention' : ''}`;
	const who = make('span', { className: 'sender' }, make('bdi', {}, name), tagged(tag));
	const row = make('li', { className, seq }, who, make('div', {}, body(text), clock(at)));
	row.style.setProperty('--hue', hue(sender));
	return row;
}

// The same on every page, and neighbours are far apart.
const hue = (sender) => [...sender].reduce((sum, letter) => (sum * 31 + letter.codePointAt() * 137) % 360, 0);

// Tells those apart whose names look the same, on demand.
export const tagged = (tag) => make('span', { className: 'tag' }, tag);

list.onclick = ({ target }) => target.closest('.sender') && toggleTags();

export function toggleTags() {
	find('tags').setAttribute('aria-pressed', document.documentElement.toggleAttribute('data-tags'));
}

function notice({ text, at, isQuiet }) {
	const row = make('li', { className: 'notice', hidden: !text }, make('p', {}, text), clock(at));
	if (isQuiet) row.setAttribute('aria-live', 'off');
	return row;
}

const divider = ({ text, divides }) => make('li', { className: `line ${divides}` }, text);

const day = ({ at }) => make('li', { className: 'day' }, clock(at, asDay));

export function body(text) {
	const paragraph = fill(make('p', { className: 'text', dir: 'auto', lang: '' }), text);
	if (isBlank(text)) paragraph.dataset.blank = say('blank');
	// What takes more than some 25 lines of 80 scrolls, by keyboard too.
	if (text.length + 80 * text.split('\n').length > 2_000) paragraph.tabIndex = 0;
	return paragraph;
}

const clock = (at, format = asTime) => make('time', { dateTime: at.toISOString() }, format(at));

// A message's text as nodes that say the same. What hides or reorders other characters is marked.

// A link leads where its text says, or there is none. So a host is whole and plain ASCII: no letter
// passes for another, and what comes before an @ passes for no host.
const HOST = String.raw`(?:[a-z0-9_.\-]+|\[[0-9a-f:.]+\])`;
// What people on a network paste without a scheme.
const PRIVATE = String.raw`(?:10|127|169\.254|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}`;
const LAN = String.raw`(?:${PRIVATE}|(?:[a-z0-9_\-]+\.)+local|localhost(?=:\d)|\[[0-9a-f:.]+\](?=[:\/]))`;
const WHOLE = String.raw`(?![.:。．｡]*[\p{L}\p{N}\p{M}\p{DI}_%@＠\\\-])`;
// A path may have any letters.
const PATH = String.raw`(?:[\/?#](?:(?!\p{DI}|\p{M}{17})[\p{L}\p{N}\p{M}\-._~:\/?#\[\]@!$&'\(\)*+,;=%])*)?`;
const TAIL = String.raw`(?::\d+)?${WHOLE}`;
const LINK = String.raw`(?:https?:\/\/${HOST}${TAIL}(?![^\s\/?#]*[@＠])|${LAN}${TAIL}(?![^\s\/?#]{0,99}[@＠]))${PATH}`;
// Addresses and words that are no links.
const OTHER = '[a-z][a-z0-9+.\\-]*:\\/\\/[^\\s`]*';
const WORD = String.raw`(?:[a-z0-9_+.@\-]|:?\/\/?|\\)+`;
// Control and invisible characters, but for those of languages and emoji, in moderate numbers.
const UNSEEN = String.raw`((?![\n\r\t\u180b-\u180f\u200c-\u200f\ufe00-\ufe0f\u{e0020}-\u{e007f}\u{e0100}-\u{e01ef}])[\p{Cc}\p{DI}\u2028\u2029])\1*|[\p{M}\p{DI}]{17,}`;
const CODE = '```[^]*?```\\n?|`[^`\\n]+`';

const IN_TEXT = new RegExp(`(?<code>${CODE})|(?<link>${LINK})|(?<other>${OTHER})|(?<word>${WORD})|${UNSEEN}`, 'giu');
const IN_CODE = new RegExp(UNSEEN, 'giu');

// Thousands of links in a message would cost everybody time.
const MOST_ELEMENTS = 500;

export function fill(parent, text, pattern = IN_TEXT) {
	let end = 0;
	let elements = 0;
	for (const { 0: whole, index, groups = {} } of text.matchAll(pattern)) {
		if (groups.word) continue;
		if (elements === MOST_ELEMENTS) break;
		elements += 1;
		const part = groups.link ? withoutPunctuation(whole) : whole;
		parent.append(text.slice(end, index), element(part, groups));
		end = index + part.length;
	}
	parent.append(text.slice(end));
	return parent;
}

export const isBlank = (text) => /^[\s\p{Cc}\p{DI}\u2800]*$/u.test(text);

function element(part, { code, link, other }) {
	if (link) {
		const href = address(part);
		return href ? make('a', { href, target: '_blank', rel: 'noopener noreferrer' }, part) : part;
	}
	if (other) return fill(document.createDocumentFragment(), part, IN_CODE);
	if (code) return (part.startsWith('```') && block(part)) || fill(make('code'), part, IN_CODE);
	const mark = make('span', { className: 'mark' }, hide(part));
	mark.dataset.code = `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, 0)}`;
	return mark;
}

// Its fences are there, but not seen.
function block(part) {
	const [, opening, inner, closing] = /^(```(?:[\w+#.\-]*\n)?)([^]*?)(\n?```\n?)$/.exec(part);
	if (inner.trim() === '') return;
	const code = fill(make('span'), inner, IN_CODE);
	const button = make('button', { className: 'copy quiet', type: 'button' });
	const label = (key) => button.setAttribute('aria-label', say(key));
	button.onclick = () => {
		getSelection().selectAllChildren(code);
		if (copyMarked()) label('copied');
		getSelection().removeAllRanges();
	};
	label('copy');
	// It scrolls sideways, by keyboard too.
	return make('code', { className: 'block', tabIndex: 0 }, hide(opening), button, code, hide(closing));
}

const hide = (text) => make('span', { hidden: true }, text);

// Undefined if a browser would go elsewhere: it takes 0x7f.1 for 127.0.0.1.
function address(link) {
	const href = /^https?:/i.test(link) ? link : `http://${link}`;
	const [, host] = /^https?:\/\/([^\/?#:[]*)/i.exec(href);
	try {
		const { hostname } = new URL(href);
		return !host || hostname === host.toLowerCase() ? href : undefined;
	} catch {}
}

// "(see http://host/path)." ends before the bracket that it did not open.
function withoutPunctuation(link) {
	const count = (character) => link.split(character).length;
	const surplus = { ')': count(')') - count('('), ']': count(']') - count('[') };
	let end = link.length;
	while (surplus[link[end - 1]]-- > 0 || '.,;:!?\'"'.includes(link[end - 1])) end -= 1;
	return link.slice(0, end);
}
