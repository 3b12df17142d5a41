import asyncio

import aiohttp
from contract import offers, say, texts, url


async def main():
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, protocols=offers) as socket:
            say(socket.protocol or "")
            for text in texts:
                await socket.send_str(text)
                say(await socket.receive_str())
            if texts:
                await socket.close()
            else:
                await socket.receive()
            say(socket.close_code)


asyncio.run(main())
