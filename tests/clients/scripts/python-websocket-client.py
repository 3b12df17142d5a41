import struct

import websocket
from contract import offers, say, texts, url

socket = websocket.create_connection(url, subprotocols=offers or None)
say(socket.getsubprotocol() or "")
for text in texts:
    socket.send(text)
    say(socket.recv())
if texts:
    # close() takes the server's close frame itself and does not tell its code.
    socket.send_close()
opcode, data = socket.recv_data()
assert opcode == websocket.ABNF.OPCODE_CLOSE, opcode
say(struct.unpack("!H", data[:2])[0])
socket.close()
