// Tells a reader who is elsewhere: in the title, on the icon, by sound and notification.

import { wants } from './common.js';

const TITLE_PERIOD = 500;
const SOUND_PERIOD = 1_000;

const icon = document.querySelector('link[rel=icon]');
const plainIcon = icon.href;
let unread = 0;
let timer;
let audio;
let sounded = 0;

export function alertTo(name, text) {
	if (wants('sound') && !document.hasFocus()) sound();
	if (!document.hidden) return;
	unread += 1;
	timer ??= setTimeout(show, unread > 1 ? TITLE_PERIOD : 0);
	if (!wants('notify')) return;
	try {
		new Notification(name, { body: text.slice(0, 200), tag: 'roomd' }).onclick = () => window.focus();
	} catch {
		// Some phones have it for service workers only.
	}
}

function show() {
	timer = clearTimeout(timer);
	document.title = (unread ? `(${unread}) ` : '') + document.title.replace(/^\(\d+\) /, '');
	icon.href = unread ? `data:image/svg+xml,${encodeURIComponent(badge(unread > 99 ? '99+' : unread))}` : plainIcon;
}

const badge = (label) =>
	'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16" fill="#c4342b"/>' +
	`<text x="16" y="22" font-family="sans-serif" font-size="17" text-anchor="middle" fill="#fff">${label}</text></svg>`;

function sound() {
	if (audio?.state !== 'running' || Date.now() - sounded < SOUND_PERIOD) return;
	sounded = Date.now();
	const tone = new OscillatorNode(audio, { frequency: 660 });
	const volume = new GainNode(audio, { gain: 0.15 });
	volume.gain.setTargetAtTime(0, audio.currentTime, 0.08);
	tone.connect(volume).connect(audio.destination);
	tone.start();
	tone.stop(audio.currentTime + 0.5);
}

addEventListener('visibilitychange', () => {
	if (document.hidden) return;
	unread = 0;
	show();
});

// Browsers let a page sound only after a touch.
for (const touch of ['pointerdown', 'keydown']) {
	addEventListener(touch, () => {
		if (wants('sound')) (audio ??= new AudioContext()).resume();
	});
}
