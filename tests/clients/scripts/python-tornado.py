import asyncio

from contract import offers, say, texts, url
from tornado.websocket import websocket_connect


async def main():
    socket = await websocket_connect(url, subprotocols=offers or None)
    say(socket.selected_subprotocol or "")
    for text in texts:
        await socket.write_message(text)
        say(await socket.read_message())
    if texts:
        socket.close()
    assert await socket.read_message() is None
    # None is a close frame without a code.
    say(socket.close_code or 1005)


asyncio.run(main())
