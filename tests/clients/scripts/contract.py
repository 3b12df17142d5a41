"""What every script here does, in its library's usual way and with the library's default settings:

    SCRIPT URL OFFER [TEXT...]

It connects to URL, offers the subprotocol OFFER unless that is empty, and prints, as one JSON value
per line: the subprotocol that the server selected ("" for none); the answer to each TEXT; the code
of the server's close frame. It closes the connection after the last answer; without any TEXT it
waits until the server closes it. A script that fails prints the error and exits with a status
other than 0.
"""

import json
import sys

url, offer, *texts = sys.argv[1:]
offers = [offer] if offer else []


def say(value):
    print(json.dumps(value), flush=True)
