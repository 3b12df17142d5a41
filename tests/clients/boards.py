"""The handshakes of libraries for small boards, which cannot be run here. Each request is written
as the library writes it, and each response is read as the library reads it."""

import base64
import hashlib
import os
import socket
import struct
from dataclasses import dataclass
from typing import Callable

TEXT, CLOSE = 1, 8
HELLO = "grüß dich, 水 🚣"


@dataclass(frozen=True)
class Board:
    name: str
    """The library's file that the imitation follows."""
    source: str
    """What other clients do not do."""
    special: str
    request: str
    """Whether the library takes this response's head; `accept` is the value that it expects."""
    takes: Callable[[bytes, str], bool]
    flags: tuple = ()


def fields(head):
    """The fields of `head`, by their names as they were written."""
    return dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)


def links2004(head, accept):
    found = {name.lower(): value for name, value in fields(head).items()}
    return (head.startswith(b"HTTP/1.1 101") and found["connection"].lower() == "upgrade"
            and found["upgrade"].lower() == "websocket" and found["sec-websocket-accept"] == accept)


def case_sensitive(head, accept):
    """Names and values are compared with ==."""
    found = fields(head)
    return (head.startswith(b"HTTP/1.1 101") and found.get("Upgrade", "").lower() == "websocket"
            and found.get("Connection") == "Upgrade" and found.get("Sec-WebSocket-Accept") == accept)


def line_by_line(head, accept):
    """Lines that start with exactly this."""
    lines = head.decode().split("\r\n")
    return "Upgrade: websocket" in lines and f"Sec-WebSocket-Accept: {accept}" in lines


def nodemcu(head, accept):
    """strstr() in the first segment that comes."""
    return all(part in head for part in (b"HTTP/1.1 101", b"Sec-WebSocket-Accept:", accept.encode()))


def esp_idf(head, accept):
    """strcasestr(), in a buffer of 1,024 bytes."""
    found = {name.lower(): value for name, value in fields(head).items()}
    return len(head) < 1024 and found["sec-websocket-accept"].strip() == accept


def micropython(head, _accept):
    """The status line has to be this one; the rest is skipped."""
    return head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")


BOARDS = [
    Board(
        "arduinoWebSockets (ESP8266, ESP32)", "Links2004/arduinoWebSockets src/WebSocketsClient.cpp",
        "sends `Origin: file://`, offers `arduino`",
        "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: arduino\r\n"
        "Origin: file://\r\nUser-Agent: arduino-WebSocket-Client\r\n\r\n",
        links2004,
    ),
    Board(
        "arduinoWebSockets before July 2015", "Links2004/arduinoWebSockets, parent of afe1a2b",
        "leaves the port out of `Host`; compares names and `Upgrade` with case, offers `arduino`",
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "User-Agent: arduino-WebSocket-Client\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: arduino\r\nSec-WebSocket-Key: {key}\r\n\r\n",
        case_sensitive,
    ),
    Board(
        "Arduino-Websocket and its many copies", "WebSocketClient.cpp, analyzeRequest()",
        "begins with `Upgrade`; searches lines that start with `Sec-WebSocket-Accept: `",
        "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nHost: {host}\r\n"
        "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: chat\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n",
        line_by_line,
    ),
    Board(
        "ArduinoWebsockets (ESP8266, ESP32)", "gilmaimon/ArduinoWebsockets src/websockets_client.cpp",
        "leaves the port out of `Host`; compares names and `Upgrade` with case",
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        case_sensitive,
    ),
    Board(
        "NodeMCU", "nodemcu/nodemcu-firmware app/websocket/websocketclient.c",
        "searches the first segment for `Sec-WebSocket-Accept:` with case, offers `chat`",
        "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "User-Agent: ESP8266\r\nSec-Websocket-Key: {key}\r\nSec-WebSocket-Protocol: chat\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n",
        nodemcu,
    ),
    Board(
        "ESP-IDF", "espressif/esp-idf components/tcp_transport/transport_ws.c",
        "has 1,024 bytes for the response's head",
        "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nHost: {host}:{port}\r\n"
        "User-Agent: ESP32 Websocket Client\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: {key}\r\n\r\n",
        esp_idf,
    ),
    Board(
        "MicroPython uwebsockets", "danni/uwebsockets uwebsockets/client.py",
        "sends `Origin: http://localhost`, which another site's page could send too, so it needs "
        "`--allow-origin http://localhost`; takes one status line only",
        "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nOrigin: http://localhost\r\n\r\n",
        micropython,
        flags=("--allow-origin", "http://localhost"),
    ),
]


def converse(board, host, port):
    """Shakes hands, has a text echoed and closes; an exception says what went wrong."""
    key = base64.b64encode(os.urandom(16)).decode()
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(board.request.format(host=host, port=port, key=key).encode())
        # The whole head has to come in one segment, as some of them expect.
        head, end, rest = connection.recv(4096).partition(b"\r\n\r\n")
        assert end and not rest, f"not one head in one segment: {head + end + rest}"
        assert head.startswith(b"HTTP/1.1 101"), head.decode().split("\r\n")[0]
        assert board.takes(head, accept), f"the library would not take this:\n{head.decode()}"
        connection.sendall(_frame(TEXT, HELLO.encode()))
        answer = f"Message text was: {HELLO}".encode()
        _expect(connection, bytes([0x80 | TEXT, len(answer)]) + answer)
        code = struct.pack("!H", 1000)
        connection.sendall(_frame(CLOSE, code))
        _expect(connection, bytes([0x80 | CLOSE, len(code)]) + code)
        assert connection.recv(1) == b"", "more than a close frame"


def _frame(opcode, payload):
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked


def _expect(connection, frame):
    received = b""
    while len(received) < len(frame) and (more := connection.recv(len(frame) - len(received))):
        received += more
    assert received == frame, f"{received} instead of {frame}"
