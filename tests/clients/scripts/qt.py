import sys

from contract import offers, say, texts, url
from PyQt5.QtCore import QCoreApplication, QUrl
from PyQt5.QtNetwork import QAbstractSocket, QNetworkRequest
from PyQt5.QtWebSockets import QWebSocket

application = QCoreApplication([])
socket = QWebSocket()
rest = list(texts)


def proceed():
    if rest:
        socket.sendTextMessage(rest.pop(0))
    else:
        socket.close()


def connected():
    # Qt 5 does not tell which subprotocol was selected.
    say("")
    if texts:
        proceed()


def answered(answer):
    say(answer)
    proceed()


def disconnected():
    say(int(socket.closeCode()))
    application.quit()


def failed(error):
    # The server's close is reported as an error too, before `disconnected`.
    if error != QAbstractSocket.RemoteHostClosedError:
        print(socket.errorString(), file=sys.stderr)
        application.exit(1)


socket.connected.connect(connected)
socket.textMessageReceived.connect(answered)
socket.disconnected.connect(disconnected)
socket.error.connect(failed)
request = QNetworkRequest(QUrl(url))
if offers:
    # Nor can it offer one by a function of its own.
    request.setRawHeader(b"Sec-WebSocket-Protocol", offers[0].encode())
socket.open(request)
sys.exit(application.exec())
