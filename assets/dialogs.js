// The dialogs: the reader's number and wishes, and the link and code that invite others.

import { ask, copyMarked, device, find, say, show, wants } from './common.js';
import { id, parseId, useId } from './room.js';

const WISHES = ['sound', 'notify'];

const dialog = find('settings');
const number = find('number');

find('you').onclick = open;
find('cancel').onclick = () => dialog.close();
find('notify').onchange = askToNotify;
number.oninput = checkNumber;
dialog.onsubmit = () => {
	for (const wish of WISHES) device.set(wish, find(wish).checked ? 'yes' : 'no');
	useId(parseId(number.value));
};

function open() {
	number.value = id();
	checkNumber();
	for (const wish of WISHES) find(wish).checked = wants(wish);
	showObstacle();
	show('kept-hint', device.set('kept', 'yes') ? '' : say('notKept'));
	dialog.showModal();
}

// The browser says what is wrong, and submits no form.
function checkNumber() {
	number.setCustomValidity(parseId(number.value) ? '' : say('numberWrong'));
}

async function askToNotify() {
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

const link = find('link');

find('invite').onclick = async () => {
	const answer = ask(`invite?${location.origin}${location.pathname}`);
	const { url, code, flag } = await answer.then((response) => response.json()).catch(() => ({}));
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
