// Entries as rows. A row in the list never changes, or a screen reader would say it again.

import { make } from './dom.js';
import { fill, isBlank } from './richtext.js';
import { asDay, asTime, say } from './texts.js';

const GROUPED_WITHIN = 5 * 60_000;

export function message({ sender, name, text, mine, at }, previous) {
	const grouped = previous?.sender === sender && previous.mine === mine && at - previous.at < GROUPED_WITHIN;
	const className = `message${mine ? ' mine' : ''}${grouped ? ' grouped' : ''}`;
	const row = make('li', { className }, make('bdi', { className: 'sender' }, name), make('div', {}, body(text), clock(at)));
	// The same on every page, and neighbours are far apart.
	row.style.setProperty('--hue', (BigInt(sender) * 137n) % 360n);
	return row;
}

export const notice = ({ text, at }) => make('li', { className: 'notice' }, make('p', {}, text), clock(at));

export const day = ({ at }) => make('li', { className: 'day' }, clock(at, asDay));

function body(text) {
	const paragraph = fill(make('p', { className: 'text', dir: 'auto', lang: '' }), text);
	if (isBlank(text)) paragraph.dataset.blank = say('blank');
	// What takes more than some 25 lines of 80 scrolls, by keyboard too.
	if (text.length + 80 * text.split('\n').length > 2_000) paragraph.tabIndex = 0;
	return paragraph;
}

const clock = (at, format = asTime) => make('time', { dateTime: at.toISOString() }, format(at));
