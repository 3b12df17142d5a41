// A room and an echo on node's `ws`, which speak the protocol that roomd speaks.
// Usage: node server.js PORT

'use strict';

const { WebSocketServer } = require('ws');

const port = Number(process.argv[2]);
const server = new WebSocketServer({ host: '127.0.0.1', port });
const room = new Set();

function broadcast(text) {
  for (const socket of room) socket.send(text);
}

function join(socket, id) {
  room.add(socket);
  socket.on('message', (data) => broadcast(`Client #${id} says: ${data}`));
  socket.on('close', () => {
    room.delete(socket);
    broadcast(`Client #${id} left the chat`);
  });
}

server.on('connection', (socket, request) => {
  socket.on('error', () => {}); // 'close' follows
  const id = request.url.match(/^\/ws\/(-?\d+)$/)?.[1];
  if (id) {
    join(socket, id);
  } else if (request.url === '/ws') {
    socket.on('message', (data) => socket.send(`Message text was: ${data}`));
  } else {
    socket.close();
  }
});
