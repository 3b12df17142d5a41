// A message's text as nodes that say the same. What hides or reorders other characters is marked.

import { make } from './dom.js';

// A host is plain ASCII, so that no letter passes for another; a path may have any letters.
const LINK = String.raw`(?<![a-z0-9+.\-])https?:\/\/(?:[a-z0-9.\-]+|\[[0-9a-f:.]+\])(?::\d+)?(?:[\/?#](?:(?!\p{DI}|\p{M}{17})[\p{L}\p{N}\p{M}\-._~:\/?#\[\]@!$&'\(\)*+,;=%])*)?`;
// Control and invisible characters, but for those of languages and emoji, in moderate numbers.
const UNSEEN = String.raw`([[\p{Cc}\p{DI}\u2028\u2029]--[\n\r\t\u180b-\u180f\u200c-\u200f\ufe00-\ufe0f\u{e0020}-\u{e007f}\u{e0100}-\u{e01ef}]])\1*|[\p{M}\p{DI}]{17,}`;
const CODE = '```[^]*?```\\n?|`[^`\\n]+`';

const IN_TEXT = new RegExp(`(?<code>${CODE})|(?<link>${LINK})|${UNSEEN}`, 'giv');
const IN_CODE = new RegExp(UNSEEN, 'giv');

// Thousands of links in a message would cost everybody time.
const MOST_ELEMENTS = 500;

export function fill(parent, text, pattern = IN_TEXT) {
	let end = 0;
	for (const { 0: whole, index, groups } of text.matchAll(pattern).take(MOST_ELEMENTS)) {
		const part = groups?.link ? withoutPunctuation(whole) : whole;
		parent.append(text.slice(end, index), element(part, groups ?? {}));
		end = index + part.length;
	}
	parent.append(text.slice(end));
	return parent;
}

export const isBlank = (text) => /^[\s\p{Cc}\p{DI}\u2800]*$/v.test(text);

function element(part, { code, link }) {
	if (link) return URL.canParse(part) ? make('a', { href: part, target: '_blank', rel: 'noopener noreferrer' }, part) : part;
	if (code) return fill(make('code', { className: part.startsWith('```') ? 'block' : '' }), part, IN_CODE);
	const mark = make('span', { className: 'mark' }, make('span', { hidden: true }, part));
	mark.dataset.code = `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, 0)}`;
	return mark;
}

// "(see http://host/path)." ends before the bracket that it did not open.
function withoutPunctuation(link) {
	const count = (character) => link.split(character).length;
	const surplus = { ')': count(')') - count('('), ']': count(']') - count('[') };
	let end = link.length;
	while (surplus[link[end - 1]]-- > 0 || '.,;:!?\'"'.includes(link[end - 1])) end -= 1;
	return link.slice(0, end);
}
