"""Runs examples/room.py through a proxy that cuts its connections: each line is said once, in order."""

import socket
import subprocess
import threading
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "room.py"
PATIENCE = 60
# The bytes of the server that the first connections get: within the handshake, `hello`, messages.
CUTS = (100, 400, 1500, 4000)
# Some are long, so that not all of them are said before the last cut.
LINES = [f"line {n} ä水🚣 {'x' * (n * 53 % 300)}" for n in range(40)]


def converse(python, host, port, environment):
    """An exception says what went wrong."""
    proxy = Proxy((host, port))
    command = [str(python), str(EXAMPLE)]

    def run(port, name, lines):
        done = subprocess.run([*command, f"ws://{host}:{port}/lobby/ws", name], input="\n".join(lines),
                              text=True, capture_output=True, timeout=PATIENCE, env=environment)
        assert done.returncode == 0, f"status {done.returncode}: {done.stderr}"
        return done.stdout.splitlines()

    expected = [f"ana: {line}" for line in LINES]
    said = run(proxy.port, "ana", LINES)
    assert said == expected, f"it has shown {said}"
    assert proxy.connections > len(CUTS), f"only {proxy.connections} connections"
    # Another one reads what the room has.
    heard = run(port, "bo", [])
    assert heard == expected, f"the room has {heard}"


class Proxy:
    """Forwards connections, the first of which end after some bytes of the server's."""

    def __init__(self, server):
        self.server, self.connections = server, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.server)
            most = CUTS[self.connections] if self.connections < len(CUTS) else 1 << 30
            self.connections += 1
            for source, sink, bytes_left in ((client, server, 1 << 30), (server, client, most)):
                threading.Thread(target=self.forward, args=(source, sink, bytes_left), daemon=True).start()

    @staticmethod
    def forward(source, sink, bytes_left):
        try:
            while bytes_left and (chunk := source.recv(min(bytes_left, 4096))):
                sink.sendall(chunk)
                bytes_left -= len(chunk)
            for end in (source, sink):
                end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # The other direction has ended it.
