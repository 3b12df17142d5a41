'use strict';
const WebSocket = require('ws');
const { url, offers, say, fail, converse } = require('./contract.js');

const socket = new WebSocket(url, offers);
socket.on('error', fail);
socket.on('open', () => {
  say(socket.protocol);
  const answered = converse((text) => socket.send(text), () => socket.close());
  socket.on('message', (data) => answered(data.toString()));
});
socket.on('close', say);
