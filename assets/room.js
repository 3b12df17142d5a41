// The page at `/`: what the room's frames mean.

import { notify } from './alerts.js';
import { add, follow } from './log.js';
import { chooseId, id } from './settings.js';
import { asTime, say } from './texts.js';
import { confirm, doubt, keep, onSendAgain } from './unsent.js';

// Only a whole frame is a notice, and only the first prefix names the sender: whatever else looks
// like either was typed by somebody.
const NOTICE = /^Client #(-?\d+) left the chat$/;
const MESSAGE = /^Client #(-?\d+) says: (.*)$/s;

export function room(connection) {
	let lostAt;

	function send(text) {
		if (!connection.send(text)) return false;
		keep(id(), text);
		follow();
		return true;
	}

	onSendAgain(send);
	chooseId(() => {
		connection.open();
		// Nothing was missed: this was wanted.
		lostAt = undefined;
		add({ kind: 'notice', text: say('nowYou', id()) });
	});

	return {
		send,
		path: () => `ws/${id()}`,
		hear(frame) {
			const [, leaver] = NOTICE.exec(frame) ?? [];
			const [, sender, text] = MESSAGE.exec(frame) ?? [];
			if (!sender) return add({ kind: 'notice', text: leaver ? say('left', leaver) : frame });
			// Others may use the same number, so mine is only what was sent from here.
			const mine = confirm(sender, text);
			const name = mine ? say('you') : say('client', sender);
			add({ kind: 'message', sender, name, text, mine });
			if (!mine) notify(name, text);
		},
		connected() {
			if (lostAt) add({ kind: 'notice', text: say('gap', asTime(lostAt), asTime(new Date())) });
			lostAt = undefined;
		},
		disconnected() {
			lostAt = new Date();
			doubt();
		},
	};
}
