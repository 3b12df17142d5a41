// What was said. It takes entries at any speed, draws once per frame, and follows the newest row
// unless the reader has scrolled away.

import { find, show } from './dom.js';
import { day, message, notice } from './rows.js';
import { say } from './texts.js';

const MAX_ROWS = 1_000;
// Of rounding.
const AT_END = 2;

const scroller = find('log');
const list = find('messages');

let queue = [];
let scheduled = false;
let following = true;
let missed = 0;
let top = 0;
let rest = 0;
let holding;
let previous;

// An entry with a sender is a message, any other a notice.
export function add(entry) {
	queue.push({ ...entry, at: new Date() });
	if (queue.length > 2 * MAX_ROWS) queue = queue.slice(-MAX_ROWS);
	if (entry.sender && !following) missed += 1;
	if (scheduled) return;
	scheduled = true;
	// A hidden tab gets no frames.
	if (document.hidden) setTimeout(draw, 250);
	else requestAnimationFrame(draw);
}

export function follow() {
	following = true;
	scroller.scrollTop = scroller.scrollHeight;
	top = scroller.scrollTop;
	showJump();
}

function draw() {
	scheduled = false;
	const fresh = document.createDocumentFragment();
	for (const entry of queue.splice(0).slice(-MAX_ROWS)) {
		if (entry.at.toDateString() !== previous?.at.toDateString()) {
			fresh.append(day(entry));
			previous = undefined;
		}
		fresh.append(entry.sender ? message(entry, previous) : notice(entry));
		previous = entry;
	}
	list.append(fresh);
	prune();
	if (following && !holding) follow();
	else showJump();
}

// The first row stays a day, until the next day follows it. What is being read stays where it is.
function prune() {
	const { children } = list;
	const surplus = children.length - MAX_ROWS;
	const anchor = surplus > 0 && !following && children[surplus + 2];
	const place = () => anchor && anchor.getBoundingClientRect().top;
	const before = place();
	for (let gone = 0; gone < surplus; gone += 1) {
		const [first, second] = children;
		(second.className === 'day' ? first : second).remove();
	}
	if (!anchor) return;
	const wanted = scroller.scrollTop + place() - before + rest;
	scroller.scrollTop = wanted;
	// Browsers round to the screen's pixels.
	rest = wanted - scroller.scrollTop;
}

function showJump() {
	if (following) missed = 0;
	find('jump').hidden = following;
	show('jump', missed > 0 ? say('newMessages', missed) : say('toEnd'));
}

// The end also moves away from a reader who does nothing.
scroller.onscroll = () => {
	const atEnd = scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop < AT_END;
	following = atEnd || (following && scroller.scrollTop >= top);
	top = scroller.scrollTop;
	showJump();
};
// A scroll begins slowly, and must not be undone.
for (const start of ['wheel', 'keydown', 'touchmove']) {
	scroller[`on${start}`] = ({ key }) => {
		if (key === 'End') follow();
		clearTimeout(holding);
		holding = setTimeout(() => {
			holding = 0;
			if (following) follow();
		}, 300);
	};
}
find('jump').onclick = () => {
	follow();
	scroller.focus();
};
new ResizeObserver(() => following && follow()).observe(scroller);
addEventListener('visibilitychange', draw);
