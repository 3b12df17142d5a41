// Each kind of entry as a row. A row never changes once it is in the list, or a screen reader
// would say it again.

import { make } from './dom.js';
import { fill, isBlank } from './richtext.js';
import { asDay, asTime, say } from './texts.js';

const GROUPED_WITHIN = 5 * 60_000;

export const rows = {
	message({ sender, name, text, mine, at }, previous) {
		const grouped = previous?.sender === sender && previous.mine === mine && at - previous.at < GROUPED_WITHIN;
		const className = `message${mine ? ' mine' : ''}${grouped ? ' grouped' : ''}`;
		const row = make('li', { className }, make('bdi', { className: 'sender' }, name), body(text), clock(at));
		row.style.setProperty('--hue', hue(sender));
		return row;
	},

	notice: ({ text, at }) => make('li', { className: 'notice' }, make('p', {}, text), clock(at)),

	// What was sent to the echo, and what came back.
	exchange({ sent, answer, verdict, wrong, at }) {
		const row = make('li', { className: wrong ? 'exchange wrong' : 'exchange' }, make('h2', {}, say('sent')), body(sent));
		if (answer !== undefined) row.append(make('h2', {}, say('cameBack')), body(answer));
		row.append(make('p', { className: 'verdict' }, verdict), clock(at));
		return row;
	},

	day: ({ at }) => make('li', { className: 'day' }, make('time', { dateTime: at.toISOString() }, asDay(at))),
};

// The same number has the same colour on every page. FNV-1a, so that neighbours differ.
function hue(sender) {
	let hash = 0x811c9dc5;
	for (const digit of sender) hash = Math.imul(hash ^ digit.charCodeAt(0), 0x01000193) >>> 0;
	return (hash >>> 8) % 360;
}

// The language of the text is nobody's to know: not the page's.
function body(text) {
	const paragraph = fill(make('p', { className: 'text', dir: 'auto', lang: '' }), text);
	if (isBlank(text)) paragraph.dataset.blank = say('blank');
	const place = make('div', { className: 'body' }, paragraph);
	// Some 25 lines of 80 are as much as others' messages can be asked to make room for.
	if (text.length + 80 * text.split('\n').length > 2_000) fold(place);
	return place;
}

function fold(place) {
	const button = make('button', { type: 'button', className: 'quiet', ariaExpanded: 'false' }, say('showAll'));
	button.onclick = () => (button.ariaExpanded = String(!place.classList.toggle('folded')));
	place.classList.add('folded');
	place.append(button);
}

const clock = (at) => make('time', { dateTime: at.toISOString() }, asTime(at));
