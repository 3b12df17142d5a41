// The dialogs: name and wishes, with the alerts that they are for; invitations; other rooms.

import { ask, asNumber, copyMarked, device, find, make, objects, say, show } from './common.js';
import { rename, room, titleOf, wantedName } from './room.js';

const WISHES = ['sound', 'notify'];
const wants = (wish) => device.get(wish) === 'yes';

const dialog = find('settings');

for (const button of document.querySelectorAll('.cancel')) button.onclick = () => button.closest('dialog').close();
dialog.onsubmit = () => {
	for (const wish of WISHES) device.set(wish, find(wish).checked ? 'yes' : 'no');
	rename(find('name').value);
};

find('you').onclick = () => {
	find('name').value = wantedName() ?? '';
	for (const wish of WISHES) find(wish).checked = wants(wish);
	showObstacle();
	show('kept-hint', device.set('kept', 'yes') ? '' : say('notKept'));
	dialog.showModal();
};

find('notify').onchange = async ({ target }) => {
	if (target.checked) target.checked = (await Notification.requestPermission()) === 'granted';
	showObstacle();
};

function showObstacle() {
	const isDenied = (window.Notification?.permission ?? 'denied') === 'denied';
	const obstacle = isSecureContext ? isDenied && 'notifyDenied' : 'notifyInsecure';
	find('notify').disabled = obstacle;
	show('notify-hint', obstacle ? say(obstacle) : '');
}

// Tells a reader who is elsewhere.

const TITLE_PERIOD = 500;
const SOUND_PERIOD = 1_000;

const icon = document.querySelector('link[rel=icon]');
const plainIcon = icon.href;
let unread = 0;
let timer;
let audio;
let sounded = 0;

// A mention of one's own name sounds, though one is there.
export function alertTo(name, text, isMention) {
	if (wants('sound') && (isMention || !document.hasFocus())) sound(isMention ? 880 : 660);
	if (!document.hidden) return;
	unread += 1;
	timer ??= setTimeout(showUnread, unread > 1 ? TITLE_PERIOD : 0);
	if (!wants('notify')) return;
	try {
		new Notification(name, { body: text.slice(0, 200), tag: 'roomd' }).onclick = () => window.focus();
	} catch {
		// Some phones have it for service workers only.
	}
}

function showUnread() {
	timer = clearTimeout(timer);
	document.title = (unread ? `(${unread}) ` : '') + document.title.replace(/^\(\d+\) /, '');
	icon.href = unread ? `data:image/svg+xml,${encodeURIComponent(badge(unread > 99 ? '99+' : unread))}` : plainIcon;
}

const badge = (label) =>
	'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16" fill="#c4342b"/>' +
	`<text x="16" y="22" font-family="sans-serif" font-size="17" text-anchor="middle" fill="#fff">${label}</text></svg>`;

function sound(frequency) {
	if (audio?.state !== 'running' || Date.now() - sounded < SOUND_PERIOD) return;
	sounded = Date.now();
	const tone = new OscillatorNode(audio, { frequency });
	const volume = new GainNode(audio, { gain: 0.15 });
	volume.gain.setTargetAtTime(0, audio.currentTime, 0.08);
	tone.connect(volume).connect(audio.destination);
	tone.start();
	tone.stop(audio.currentTime + 0.5);
}

addEventListener('visibilitychange', () => {
	if (document.hidden) return;
	unread = 0;
	showUnread();
});

// Browsers let a page sound only after a touch.
for (const touch of ['pointerdown', 'keydown']) {
	addEventListener(touch, () => {
		if (wants('sound')) (audio ??= new AudioContext()).resume();
	});
}

const link = find('link');

find('invite').onclick = async () => {
	const answer = ask(`invite?${location.origin}${location.pathname}`);
	const { url, code, flag } = await answer.then((said) => said.json()).catch(() => ({}));
	show('invite-hint', url ? '' : flag ? say('onlyHere', flag) : say('noNetwork'));
	find('invited').hidden = !url;
	if (url) Object.assign(find('code'), { src: code, alt: url });
	link.value = url;
	find('invitation').showModal();
	link.select();
};

find('copy').onclick = () => {
	link.select();
	if (copyMarked()) show('invite-hint', say('copied'));
};

const rooms = find('rooms');

find('room').onclick = async () => {
	const answer = await ask('_rooms').catch(() => ({}));
	const declared = await objects(answer);
	if (!declared.some(({ name }) => name === 'lobby')) declared.unshift({ name: 'lobby' });
	rooms.querySelector('ul').replaceChildren(...declared.map(row));
	rooms.showModal();
};

function row({ name, title, count }) {
	const a = make('a', { href: name, dir: 'auto' }, titleOf({ room: name, title }));
	if (name === room) a.setAttribute('aria-current', 'page');
	return make('li', {}, a, make('span', {}, count >= 0 ? say('here', asNumber(count)) : ''));
}

rooms.onsubmit = (event) => {
	event.preventDefault();
	location.href = find('another').value.trim();
};
