#!/usr/bin/env python3
"""Talks in a room of roomd from a terminal: names, history, and nothing lost or said twice.

    pip install websockets
    python3 examples/room.py ws://localhost:8000/lobby/ws Ana

Each line that is typed is a message. The connection may break at any time: the script goes on behind the
last message that it has printed, and says again only what was not accepted (docs/protocol.md).
"""
import asyncio, base64, json, os, random, sys
import websockets

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8000/lobby/ws"
NAME = sys.argv[2] if len(sys.argv) > 2 else None
ME = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")  # this client's secret


class Room:
    cursor = None  # behind the last message that was printed
    last = 0       # the number of our last message
    waiting = {}   # our messages without proof, by their numbers

    async def talk(self, socket):
        hello = {"t": "hello", "me": ME, "name": NAME, "since": self.cursor, "history": 20}
        await socket.send(json.dumps(hello))
        async for frame in socket:
            self.take(event := json.loads(frame))
            if event["t"] == "hello":
                for n, text in sorted(self.waiting.items()):
                    await self.send(socket, n, text)
                self.socket = socket

    async def send(self, socket, n, text):
        await socket.send(json.dumps({"t": "msg", "n": n, "text": text}))

    def take(self, event):
        match event["t"]:
            case "hello":
                self.you, self.cursor = event["you"], event["cursor"]
                if event["missed"] != 0:
                    print(f"-- {event['missed'] or 'some'} messages missed")
                if event["n"] is None and self.waiting and self.last > len(self.waiting):
                    print("-- possibly not sent:", *self.waiting.values(), sep="\n   ")
                    self.waiting.clear()
                self.prove(event["n"] or 0)
            case "msg":
                self.cursor = f"{self.cursor.split('.')[0]}.{event['seq']}"
                print(f"{event['name']}: {event['text']}", flush=True)
                if event["by"] == self.you:
                    self.prove(event.get("n", 0))
            case "ack" | "err":
                self.prove(event.get("n", 0))

    def prove(self, n):
        self.waiting = {k: text for k, text in self.waiting.items() if k > n}

    async def read(self):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            self.last += 1
            self.waiting[self.last] = line.decode().rstrip("\n")
            if socket := getattr(self, "socket", None):
                try:
                    await self.send(socket, self.last, self.waiting[self.last])
                except websockets.ConnectionClosed:
                    pass  # it is said again behind the next hello

    async def run(self):
        asyncio.create_task(self.read())
        while True:
            try:
                async with websockets.connect(URL, subprotocols=["roomd.1"]) as socket:
                    await self.talk(socket)
            except (OSError, websockets.WebSocketException) as error:
                print("--", error, file=sys.stderr)
            self.socket = None
            await asyncio.sleep(random.uniform(0.5, 5))


asyncio.run(Room().run())
