#!/usr/bin/env python3
"""A link between a node and the engine that is late, loses packets, or is dead without anybody being told.

    link.py DEVICE HERE THERE

It is a TUN device: what is sent to the address THERE comes back as if THERE had sent it to HERE, so whoever
connects to THERE reaches what listens on HERE. Addresses are swapped, which changes no checksum. Each line
of standard input is `DELAY LOSS`: for how many seconds each packet is held, and which part of them is
dropped (1: all). It needs CAP_NET_ADMIN, and ip(8).
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def main(device, here, there):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    for words in (["addr", "add", here, "peer", there], ["link", "set", "up"]):
        subprocess.run(["ip", *words, "dev", device], check=True)
    print("up", flush=True)
    delay, loss, held, number, dice = 0.0, 0.0, [], 0, random.Random(1)
    while True:
        wait = max(0, held[0][0] - time.monotonic()) if held else None
        ready = select.select([tun, sys.stdin], [], [], wait)[0]
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            delay, loss = map(float, line.split())
            print("set", flush=True)
        if tun in ready:
            packet = os.read(tun, 65536)
            # Of IPv6, the system sends some on its own.
            if packet[0] >> 4 == 4 and dice.random() >= loss:
                number += 1
                swapped = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                heapq.heappush(held, (time.monotonic() + delay, number, swapped))
        while held and held[0][0] <= time.monotonic():
            os.write(tun, heapq.heappop(held)[2])


main(*sys.argv[1:])
