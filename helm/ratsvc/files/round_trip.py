"""The test of a release: publishes over gRPC, reads it back over HTTP, and removes what it made.

usage: round_trip.py HTTP_URL GRPC_ADDRESS [HOST]      HOST: the name to ask for, where `allowed_hosts` is set
"""

import sys
import uuid

import httpx

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
        read = [record["value"] for record in page.json()["records"]]
        if read != sent:
            sys.exit(f"published {sent}, read {read}")
        query = {"format": "sse", "from": "earliest", "limit": str(len(sent))}
        with client.stream("GET", f"/v1/streams/{stream}", params=query) as events:
            events.raise_for_status()
            lines = sum(line.startswith("data:") for line in events.iter_lines())
        if lines != len(sent):
            sys.exit(f"published {len(sent)} records, {lines} came as events")
    finally:
        client.delete(f"/v1/streams/{stream}").raise_for_status()

print(f"{len(sent)} records went in over gRPC at {grpc} and came out over HTTP at {url}")
