"""Who is at the other end of a gRPC call, as the dashboard shows it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import grpc.aio

from ratsvc.flow.connections import Peer


def peer_of(context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
    """The peer of a call: `ipv4:127.0.0.1:5000`, without what kind of address it is, and its user agent."""
    kind, _, address = unquote(context.peer() or "").partition(":")
    sent = context.invocation_metadata() or ()
    agent = next((str(value) for name, value in sent if name == "user-agent"), "")
    return Peer.of("grpc", address if kind in ("ipv4", "ipv6") else kind, agent)
