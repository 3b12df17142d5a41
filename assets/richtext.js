// A message's text as nodes that say the same. What hides or reorders other characters is marked.

import { make } from './dom.js';

// A link leads where its text says, or there is none. So a host is whole and plain ASCII: no letter
// passes for another, and what comes before an @ passes for no host.
const HOST = String.raw`(?:[a-z0-9_.\-]+|\[[0-9a-f:.]+\])`;
// What people on a network paste without a scheme.
const PRIVATE = String.raw`(?:10|127|169\.254|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}`;
const LAN = String.raw`(?:${PRIVATE}|(?:[a-z0-9_\-]+\.)+local|localhost(?=:\d)|\[[0-9a-f:.]+\](?=[:\/]))`;
const WHOLE = String.raw`(?![.:。．｡]*[\p{L}\p{N}\p{M}\p{DI}_%@＠\\\-])`;
// A path may have any letters.
const PATH = String.raw`(?:[\/?#](?:(?!\p{DI}|\p{M}{17})[\p{L}\p{N}\p{M}\-._~:\/?#\[\]@!$&'\(\)*+,;=%])*)?`;
const LINK = String.raw`(?:https?:\/\/${HOST}(?::\d+)?${WHOLE}(?![^\s\/?#]*[@＠])|${LAN}(?::\d+)?${WHOLE}(?![^\s\/?#]{0,99}[@＠]))${PATH}`;
// Addresses that are no links, and words in which there is none.
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
	if (code) return fill(make('code', { className: part.startsWith('```') ? 'block' : '' }), part, IN_CODE);
	const mark = make('span', { className: 'mark' }, make('span', { hidden: true }, part));
	mark.dataset.code = `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, 0)}`;
	return mark;
}

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
