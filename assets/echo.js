// The page at `/echo`: texts come straight back, and the times are drawn.

import { asNumber, find, make, say, show } from './common.js';
import { add, follow } from './log.js';

const PERIOD = 1_000;
const WIDTH = 120;
const HEIGHT = 40;

export function echo(connection) {
	// Answers come in the order of the questions.
	let waiting = [];
	let counter = 0;
	let unanswered = 0;
	// The first answer after a start is late for other reasons.
	let isWarm = false;
	// Milliseconds, or Infinity where no answer came.
	const samples = [];

	function ask(text, isMine) {
		const isAsked = connection.send(text);
		if (isAsked) waiting.push({ isMine, asked: performance.now() });
		return isAsked;
	}

	function sample(ms) {
		samples.push(ms);
		if (samples.length > WIDTH) samples.shift();
		draw(samples);
		show('unanswered', unanswered);
	}

	for (const name of ['last', 'median', 'worst', 'unanswered']) {
		find('facts').append(make('div', {}, make('dt', {}, say(name)), make('dd', { id: name }, '–')));
	}
	setInterval(() => !document.hidden && ask(String(counter), false) && (counter += 1), PERIOD);

	return {
		socketPath: () => 'ws',
		send(text) {
			if (!ask(text, true)) return false;
			add({ sender: '1', name: say('you'), text, mine: true });
			follow();
			return true;
		},
		hear(answer) {
			const { isMine, asked } = waiting.shift();
			const ms = performance.now() - asked;
			if (isWarm) sample(ms);
			isWarm = true;
			// The plot alone tells of the steady ones.
			if (isMine) add({ sender: '2', name: say('cameBack', milliseconds(ms)), text: answer });
		},
		disconnected() {
			unanswered += waiting.length;
			for (const _ of waiting) sample(Infinity);
			waiting = [];
			isWarm = false;
		},
	};
}

const milliseconds = (ms) => (ms >= 0 ? say('ms', ms < 10 ? ms.toFixed(1) : asNumber(Math.round(ms))) : '–');

function draw(samples) {
	const answered = samples.filter(Number.isFinite);
	const sorted = [...answered].sort((a, b) => a - b);
	const facts = { last: answered.at(-1), median: sorted[sorted.length >> 1], worst: sorted.at(-1) };
	for (const [name, ms] of Object.entries(facts)) show(name, milliseconds(ms));

	const top = roundUp(facts.worst ?? 1);
	const bars = { answered: '', missed: '' };
	samples.forEach((ms, index) => {
		const height = Math.min(1, Math.max(0.02, ms / top)) * HEIGHT;
		bars[Number.isFinite(ms) ? 'answered' : 'missed'] += `M${WIDTH - samples.length + index + 0.5} ${HEIGHT}v${-height}`;
	});
	for (const [name, path] of Object.entries(bars)) find(name).setAttribute('d', path);
	show('scale', say('scale', asNumber(top)));
}

// To the next of 1, 2, 5, 10, 20, 50, …
function roundUp(ms) {
	const ten = 10 ** Math.floor(Math.log10(Math.max(ms, 1)));
	return [1, 2, 5, 10].map((step) => step * ten).find((step) => step >= ms);
}
