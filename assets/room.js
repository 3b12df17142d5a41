// The page at `/`: what the room's frames mean.

import { alertTo } from './alerts.js';
import { add, follow } from './log.js';
import './invite.js';
import { id, onNewId } from './settings.js';
import { asTime, say } from './texts.js';
import { confirm, doubt, keep, onSendAgain } from './unsent.js';

// A notice is a whole frame, and the first prefix names the sender: anything else was typed.
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
	onNewId(() => {
		connection.open();
		// Nothing was missed.
		lostAt = undefined;
	});

	return {
		send,
		socketPath: () => `ws/${id()}`,
		hear(frame) {
			const [, leaver] = NOTICE.exec(frame) ?? [];
			const [, sender, text] = MESSAGE.exec(frame) ?? [];
			if (!sender) return add({ text: leaver ? say('left', leaver) : frame });
			// Others may have the same number: mine is what was sent from here.
			const mine = confirm(sender, text);
			const name = mine ? say('you') : say('client', sender);
			add({ sender, name, text, mine });
			if (!mine) alertTo(name, text);
		},
		connected() {
			if (lostAt) add({ text: say('gap', asTime(lostAt), asTime()) });
			lostAt = undefined;
		},
		disconnected() {
			lostAt = new Date();
			doubt();
		},
	};
}
