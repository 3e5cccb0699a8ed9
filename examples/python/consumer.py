"""Follows a stream with `httpx-sse`, without anything of ratsvc, and prints each record's cursor and data on a line.

After any break it comes back with the last id it saw: the service goes on exactly behind it, or says with a gap what
is missing. It ends when the stream was ended. (`ratsvc.client.Consumer` does all this, and keeps types.)

python examples/python/consumer.py --http http://127.0.0.1:8080 --stream readings --from earliest
"""

import argparse
import os
import random
import sys
import time

import httpx
from httpx_sse import SSEError, connect_sse

SILENCE_S = 40  # over two heartbeats (15 s): then the connection is taken for dead

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--http", default="http://" + os.environ.get("RATSVC_HTTP", "127.0.0.1:8080"))
parser.add_argument("--stream", default="readings", help="a stream, or a pattern")
parser.add_argument("--from", dest="start", default="earliest")
args = parser.parse_args()


def read(client: httpx.Client, cursor: str) -> tuple[str, float | None]:
    """Reads one response to its end; returns the cursor, and after how many seconds to come back: None for never."""
    retry_s = 2.0
    query = {"stream": args.stream, "from": args.start}
    headers = {"Last-Event-ID": cursor} if cursor else {}  # wins over from=
    try:
        with connect_sse(client, "GET", f"{args.http}/v1/subscribe", params=query, headers=headers) as source:
            status = source.response.status_code
            if status == httpx.codes.NO_CONTENT:
                return cursor, None  # it was ended, and we have all of it
            if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
                return cursor, float(source.response.headers.get("Retry-After", retry_s))
            if status != httpx.codes.OK:
                sys.exit(f"refused: {source.response.read().decode()}")
            for event in source.iter_sse():
                cursor = event.id
                retry_s = event.retry / 1000 if event.retry else retry_s
                if event.event == "end":
                    return cursor, None
                if event.event == "reconnect":
                    break
                if event.event == "gap":
                    print("missing:", event.data, file=sys.stderr)
                elif event.data:  # without data it only moves the cursor
                    print(cursor, event.data, sep="\t", flush=True)
    except (httpx.TransportError, SSEError) as error:
        print(f"reading on from {cursor!r}: {error}", file=sys.stderr)
    return cursor, retry_s


with httpx.Client(timeout=httpx.Timeout(10, read=SILENCE_S)) as client:
    cursor, wait_s = read(client, "")
    while wait_s is not None:
        time.sleep(wait_s * random.uniform(0.5, 1))
        cursor, wait_s = read(client, cursor)
