'use strict';
const { WebSocket } = require('undici');
const { url, offers, say, fail, converse } = require('./contract.js');

// The interface that browsers have too.
const socket = new WebSocket(url, offers);
socket.onerror = (event) => fail(event.error ?? event.message);
socket.onopen = () => {
  say(socket.protocol);
  const answered = converse((text) => socket.send(text), () => socket.close());
  socket.onmessage = (event) => answered(event.data);
};
socket.onclose = (event) => say(event.code);
