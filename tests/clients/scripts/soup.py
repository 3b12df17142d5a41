import sys

import gi

gi.require_version("Soup", "3.0")
from contract import offers, say, texts, url  # noqa: E402
from gi.repository import GLib, Soup  # noqa: E402

loop = GLib.MainLoop()
session = Soup.Session()
rest = list(texts)


def proceed(socket):
    if rest:
        socket.send_text(rest.pop(0))
    else:
        socket.close(Soup.WebsocketCloseCode.NORMAL, None)


def answered(socket, _type, message):
    say(message.get_data().decode())
    proceed(socket)


def closed(socket):
    say(socket.get_close_code())
    loop.quit()


def connected(_session, result):
    try:
        socket = session.websocket_connect_finish(result)
    except GLib.Error as error:
        print(error, file=sys.stderr)
        # An exception in a callback would leave the loop running.
        loop.quit()
        return
    say(socket.get_protocol() or "")
    socket.connect("message", answered)
    socket.connect("closed", closed)
    # Keeps it from being collected.
    connected.socket = socket
    if texts:
        proceed(socket)


message = Soup.Message.new("GET", url)
session.websocket_connect_async(message, None, offers, GLib.PRIORITY_DEFAULT, None, connected)
loop.run()
sys.exit(0 if hasattr(connected, "socket") else 1)
