// The page at `/echo`: texts come straight back, and the times are drawn.

import { asNumber, find, learn, make, say, show } from './common.js';
import { add, follow } from './log.js';

const PERIOD = 1_000;
const WIDTH = 120;
const HEIGHT = 40;

learn(`
toRoom | To the room | 回聊天室
echoTitle | roomd: connection test | roomd：連線測試
echoEmpty | What you write comes straight back. Nobody else sees it. | 你寫的訊息會立即傳回，別人看不到。
last | Last | 最近
median | Median | 中位數
worst | Worst | 最久
unanswered | Unanswered | 未回應
ms | {} ms | {} 毫秒
scale | 0 to {} ms, the last 120 messages | 0 到 {} 毫秒，最近 120 則
cameBack | Came back after {} | {}後傳回
`);

export function echo(connection) {
	document.title = say('echoTitle');
	find('messages').dataset.empty = say('echoEmpty');
	document.querySelector('a.echo').textContent = say('toRoom');

	// Answers come in the order of the questions.
	let waiting = [];
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
	const probe = () => ask('0', false);
	setInterval(() => !document.hidden && probe(), PERIOD);

	return {
		socketPath: () => 'ws',
		greet: () => connection.ready(),
		probe,
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

function roundUp(ms) {
	const ten = 10 ** Math.floor(Math.log10(Math.max(ms, 1)));
	return [1, 2, 5, 10].map((step) => step * ten).find((step) => step >= ms);
}
