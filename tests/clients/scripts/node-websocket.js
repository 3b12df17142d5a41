'use strict';
const { client: Client } = require('websocket');
const { url, offers, say, fail, converse } = require('./contract.js');

const client = new Client();
client.on('connectFailed', fail);
client.on('connect', (socket) => {
  say(socket.protocol ?? '');
  socket.on('error', fail);
  socket.on('close', say);
  const answered = converse((text) => socket.sendUTF(text), () => socket.close());
  socket.on('message', (message) => answered(message.utf8Data));
});
client.connect(url, offers);
