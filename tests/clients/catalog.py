"""The clients and programs of the suite. A new one is an entry here and a script beside it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Client:
    name: str
    """The package that it comes from, as `packages.install` takes it."""
    package: str
    script: str
    """`make test` runs it too."""
    quick: bool = False
    """Its error if the server selects none of the subprotocols that it offered; "" if it goes on."""
    insists: str = ""
    """It tells the code of the server's close frame."""
    tells_code: bool = True
    """The code of its own close frame by default, which the server repeats; 1005 is none."""
    closes_with: int = 1000


CLIENTS = [
    Client("Python websockets", "pypi:websockets", "python-websockets.py", quick=True),
    Client("Python aiohttp", "pypi:aiohttp", "python-aiohttp.py", quick=True),
    Client("Python websocket-client", "pypi:websocket-client", "python-websocket-client.py", quick=True,
           insists="Invalid WebSocket Header"),
    Client("Python ws4py", "pypi:ws4py", "python-ws4py.py", quick=True),
    Client("Python tornado", "pypi:tornado", "python-tornado.py", closes_with=1005),
    Client("Node ws", "npm:ws", "node-ws.js", quick=True, closes_with=1005,
           insists="Server sent no subprotocol"),
    Client("Node websocket", "npm:websocket", "node-websocket.js", quick=True,
           insists="Expected a Sec-WebSocket-Protocol header"),
    Client("Node undici", "npm:undici", "node-undici.js", closes_with=1005,
           insists="Server did not respond with sent protocols"),
    Client("Go gorilla/websocket", "debian:golang-github-gorilla-websocket-dev", "go-gorilla.go"),
    Client("Go x/net/websocket", "debian:golang-golang-x-net-dev", "go-net.go", tells_code=False),
    Client("Perl Mojolicious", "debian:libmojolicious-perl", "perl-mojo.pl", closes_with=1005),
    Client("Qt 5 WebSockets", "debian:python3-pyqt5.qtwebsockets", "qt.py"),
    Client("libsoup 3", "debian:gir1.2-soup-3.0", "soup.py"),
]


@dataclass(frozen=True)
class Head:
    """A program that sends HEAD: `command` gets a URL and prints the status of the response."""

    name: str
    package: str
    command: tuple
    quick: bool = False


HEADS = [
    Head("Python aiohttp", "pypi:aiohttp", ("aiohttp-head.py",), quick=True),
    Head("Node http", "npm:ws", ("node-head.js",), quick=True),
    Head("curl", "debian:curl", ("curl", "-sSI", "-o", "/dev/null", "-w", "%{http_code}\n")),
]
