import asyncio

import websockets
from contract import offers, say, texts, url


async def main():
    async with websockets.connect(url, subprotocols=offers or None) as socket:
        say(socket.subprotocol or "")
        for text in texts:
            await socket.send(text)
            say(await socket.recv())
        if not texts:
            await socket.wait_closed()
    say(socket.close_code)


asyncio.run(main())
