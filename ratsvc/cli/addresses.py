"""Where a command finds the service: what its flag says, else what tells the service itself where to listen
(RATSVC_HTTP, RATSVC_GRPC), so that both agree in one shell, and in a container."""

from __future__ import annotations

from typing import Annotated

import typer

from ratsvc.cli import UsageError

HttpAddress = Annotated[str, typer.Option("--http", envvar="RATSVC_HTTP", help="The service's HTTP address.")]
GrpcAddress = Annotated[str, typer.Option("--grpc", envvar="RATSVC_GRPC", help="The service's gRPC address.")]
HTTP = "127.0.0.1:8080"
GRPC = "127.0.0.1:50051"


def url(http: str) -> str:
    """The address with its scheme, and without a slash at its end."""
    return (http if "://" in http else f"http://{reachable(http)}").rstrip("/")


def reachable(address: str) -> str:
    """An address to connect to: a service that listens on all of its host's addresses is here on the loopback one."""
    host, _, port = address.rpartition(":")
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host) + f":{port}" if host else address  # noqa: S104


def target(grpc: str) -> str:
    """What to connect to for gRPC, which would look for a name without a port until it gives up. Raises UsageError."""
    if ":" not in grpc:
        raise UsageError(f"the gRPC address must be HOST:PORT; got {grpc!r}")
    return reachable(grpc)
