"""The test of a release: publishes over gRPC, reads it back over HTTP, and removes what it made.

usage: round_trip.py HTTP_URL GRPC_ADDRESS [HOST]      HOST: the name to ask for, where `allowed_hosts` is set
"""

import sys
import uuid

import httpx
from httpx_sse import connect_sse

from ratsvc.client import SyncProducer

url, grpc, *host = sys.argv[1:]
stream = f"helm-test.{uuid.uuid4().hex}"
sent = [{"n": n, "text": "typed gRPC in, HTTP streams out"} for n in range(10)]

with SyncProducer(grpc) as producer:
    for value in sent:
        producer.publish(stream, value)

with httpx.Client(base_url=url, headers={"Host": host[0]} if host else {}, timeout=20) as client:
    try:
        page = client.get(f"/v1/streams/{stream}", params={"format": "page", "from": "earliest"})
        page.raise_for_status()
        read = page.json()["records"]
        if read != sent:
            sys.exit(f"published {sent}, read {read}")
        query = {"format": "sse", "from": "earliest", "limit": str(len(sent))}
        with connect_sse(client, "GET", f"/v1/streams/{stream}", params=query) as source:
            came = [event.json() for event in source.iter_sse() if event.event == "message" and event.data]
        if came != sent:
            sys.exit(f"published {sent}, as events came {came}")
    finally:
        client.delete(f"/v1/streams/{stream}").raise_for_status()

sys.stdout.write(f"{len(sent)} records went in over gRPC at {grpc} and came out over HTTP at {url}\n")
