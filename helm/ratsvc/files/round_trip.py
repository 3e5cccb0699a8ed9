"""The test of a release: publishes over gRPC, reads it back over HTTP, and removes what it made.

It waits a little for a service that is just starting, and says in one line what went wrong.

usage: round_trip.py HTTP_URL GRPC_ADDRESS [HOST]      HOST: the name to ask for, where `allowed_hosts` is set
"""

import sys
import uuid

import httpx
from httpx_sse import connect_sse

from ratsvc.client import SyncProducer
from ratsvc.errors import RatError

WAIT_S, CONNECT_S = 20.0, 3.0
"""For each step, all of which end before the pod's activeDeadlineSeconds; for each connection that is tried."""
CONNECT_AGAIN = 5
"""Within 16 seconds, if they are refused: httpx waits twice as long each time."""

url, grpc, *host = sys.argv[1:]
stream = f"helm-test.{uuid.uuid4().hex}"
path = f"/v1/streams/{stream}"
sent = [{"n": n, "text": "typed gRPC in, HTTP streams out"} for n in range(10)]


def checked(response: httpx.Response) -> httpx.Response:
    """A response that is no refusal; else the end, with what it says."""
    if response.is_error:
        sys.exit(f"{response.request.method} {response.url}: {response.status_code} {response.text.strip()}")
    return response


def publish() -> None:
    """Over gRPC."""
    with SyncProducer(grpc, delivery_timeout_s=WAIT_S) as producer:
        for value in sent:
            producer.publish(stream, value)


def read(client: httpx.Client) -> None:
    """Over HTTP: as a page, and as events."""
    page = checked(client.get(path, params={"format": "page", "from": "earliest"})).json()["records"]
    if page != sent:
        sys.exit(f"published {sent}, read {page}")
    query = {"format": "sse", "from": "earliest", "limit": str(len(sent))}
    with connect_sse(client, "GET", path, params=query) as source:
        came = [event.json() for event in source.iter_sse() if event.event == "message" and event.data]
    if came != sent:
        sys.exit(f"published {sent}, as events came {came}")


named = {"Host": host[0]} if host else {}
patient = httpx.HTTPTransport(retries=CONNECT_AGAIN)
limits = httpx.Timeout(WAIT_S, connect=CONNECT_S)
with httpx.Client(base_url=url, headers=named, timeout=limits, transport=patient) as client:
    try:
        # Made first, so that it works where streams are not made by publishing, and nothing is left of half a test.
        checked(client.put(path, json={}))
        try:
            publish()
            read(client)
        finally:
            checked(client.delete(path))
    except (RatError, httpx.HTTPError) as error:
        where = f"over HTTP at {url}" if isinstance(error, httpx.HTTPError) else f"over gRPC at {grpc}"
        sys.exit(f"{where}: {error}")

sys.stdout.write(f"{len(sent)} records went in over gRPC at {grpc} and came out over HTTP at {url}\n")
