#!/usr/bin/env python3
"""Talks in a room of roomd from a terminal: room.py ws://localhost:8000/lobby/ws NAME

Each line of standard input is a message. A lost connection is resumed where it was: messages of others
that are gone for good are counted, and each line is said exactly once. Needs `pip install websockets`.
"""

import json
import random
import secrets
import sys
import threading
import time

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

FATAL = {1002, 1003, 1007, 1009, 4400, 4409}  # coming back would not help


class Room:
    def __init__(self, url, name):
        self.url, self.name = url, name
        self.me = secrets.token_urlsafe(16)  # our secret; others see a tag that is made from it
        self.cursor = None  # behind the last message that was shown
        self.head = None  # the number of the room's last message when we came
        self.n = 0  # the number of our own last message
        self.unproven = {}  # our messages that have not come back yet, by their numbers
        self.socket = None  # set while messages may be sent
        self.lock = threading.Lock()  # keeps our messages in order
        self.was_sent = self.is_over = False

    def run(self):
        attempts = 0
        while not self.is_done():
            began, code = time.monotonic(), None
            try:
                with connect(self.url, subprotocols=["roomd.1"]) as socket:
                    self.converse(socket)
            except (ConnectionClosed, InvalidHandshake, OSError) as error:
                code = getattr(getattr(error, "rcvd", None), "code", None)
                print(f"* {error}", file=sys.stderr)
            self.socket = None
            if code in FATAL:
                sys.exit(1)
            if not self.is_done():
                attempts = 0 if time.monotonic() - began > 10 else attempts + 1
                time.sleep(random.uniform(0, min(30, 2**attempts)))

    def converse(self, socket):
        hello = {"t": "hello", "me": self.me, "name": self.name}
        socket.send(json.dumps(hello | ({"since": self.cursor} if self.cursor else {})))
        for frame in socket:
            self.take(socket, json.loads(frame))
            if self.is_done():
                return

    def take(self, socket, it):
        match it["t"]:
            case "hello":
                self.resume(socket, it)
            case "msg":
                print(f"{it['name']}: {it['text']}", flush=True)
                self.cursor = f"{self.cursor.split('.')[0]}.{it['seq']}"
                if it["by"] == self.you:
                    self.unproven.pop(it.get("n"), None)  # the proof
            case "err":
                print(f"* {it['text']}", file=sys.stderr)
                self.unproven.pop(it.get("n"), None)
            case "join" | "name":
                print(f"* {it['name']} is here", file=sys.stderr)
            # More types may come: ignore those that are unknown.

    def resume(self, socket, hello):
        self.you, self.cursor, self.head = hello["you"], hello["cursor"], hello["head"]
        if hello["missed"] != 0:
            print(f"* missed: {hello['missed'] or 'maybe some'}", file=sys.stderr)
        with self.lock:
            if hello["n"] is None and self.was_sent:  # forgotten: it may have had these
                print(f"* possibly not sent: {list(self.unproven.values())}", file=sys.stderr)
                self.unproven.clear()
            self.unproven = {n: text for n, text in self.unproven.items() if n > (hello["n"] or 0)}
            for n, text in self.unproven.items():
                self.send(socket, n, text)
            self.socket = socket

    def say(self, text):
        with self.lock:
            self.n += 1
            self.unproven[self.n] = text
            if self.socket:
                try:
                    self.send(self.socket, self.n, text)
                except (ConnectionClosed, OSError):
                    pass  # it is sent again after the next hello

    def send(self, socket, n, text):
        self.was_sent = True
        socket.send(json.dumps({"t": "msg", "n": n, "text": text}))

    def is_done(self):
        """All has been said, and all that was said before we came has been shown."""
        has_caught_up = self.cursor and int(self.cursor.split(".")[1]) >= self.head
        return self.is_over and has_caught_up and not self.unproven

    def read_input(self):
        for line in sys.stdin:
            self.say(line.rstrip("\n"))
        self.is_over = True
        if self.is_done() and self.socket:
            self.socket.close()


if __name__ == "__main__":
    room = Room(*sys.argv[1:])
    threading.Thread(target=room.read_input, daemon=True).start()
    room.run()
