from contract import offers, say, texts, url
from ws4py.client.threadedclient import WebSocketClient


class Client(WebSocketClient):
    rest = list(texts)

    def next(self):
        if self.rest:
            self.send(self.rest.pop(0))
        else:
            self.close()

    def opened(self):
        # What the server selected has replaced what was offered.
        say(self.protocols[0].decode() if self.protocols else "")
        if texts:
            self.next()

    def received_message(self, message):
        say(str(message))
        self.next()

    def closed(self, code, reason=None):
        say(code)


client = Client(url, protocols=offers or None)
client.connect()
client.run_forever()
