import asyncio
import sys

import aiohttp


async def main():
    async with aiohttp.ClientSession() as session:
        # The second request shows that the first one has left nothing behind.
        for _ in range(2):
            async with session.head(sys.argv[1]) as response:
                status = response.status
                await response.read()
    print(status)


asyncio.run(main())
