// The reader's number and wishes, and the dialog for them.

import { find, show } from './dom.js';
import { device, tab } from './storage.js';
import { say } from './texts.js';

// Short enough to be told, long enough that two seldom meet.
const RANDOM_BELOW = 100_000_000;
const WISHES = ['sound', 'notify'];

const dialog = find('settings');
const number = find('number');
let current = parse(tab.get('id') ?? '') ?? random();

export const id = () => current;
export const wants = (wish) => device.get(wish) === 'yes';

export function onNewId(changed) {
	find('you').onclick = open;
	find('cancel').onclick = () => dialog.close();
	find('notify').onchange = ask;
	number.oninput = checkNumber;
	dialog.onsubmit = () => {
		const chosen = parse(number.value);
		for (const wish of WISHES) device.set(wish, find(wish).checked ? 'yes' : 'no');
		if (chosen === current) return;
		use(chosen);
		changed();
	};
	use(current);
}

function use(chosen) {
	current = chosen;
	tab.set('id', chosen);
	show('you', `#${chosen}`);
	find('you').title = say('settings');
}

function open() {
	number.value = current;
	checkNumber();
	for (const wish of WISHES) find(wish).checked = wants(wish);
	showObstacle();
	dialog.showModal();
}

// The browser says what is wrong, and submits no form.
function checkNumber() {
	number.setCustomValidity(parse(number.value) ? '' : say('numberWrong'));
}

async function ask() {
	if (find('notify').checked && (await Notification.requestPermission()) !== 'granted') find('notify').checked = false;
	showObstacle();
}

function showObstacle() {
	let obstacle;
	if (!isSecureContext) obstacle = 'notifyInsecure';
	else if ((window.Notification?.permission ?? 'denied') === 'denied') obstacle = 'notifyDenied';
	find('notify').disabled = obstacle;
	show('notify-hint', obstacle ? say(obstacle) : '');
}

// As the server writes it, or null if it takes no such number.
function parse(text) {
	const value = /^\s*-?\d{1,30}\s*$/.test(text) && BigInt(text);
	return value === BigInt.asIntN(64, value) ? String(value) : null;
}

function random() {
	return String(Math.floor(Math.random() * RANDOM_BELOW));
}
