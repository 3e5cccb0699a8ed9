"""What the machine and its libraries give without the service, measured beside a scenario: the ratio is the service's.

Each floor is the least that could stand in the service's place, with the same bytes over the same kind of sockets.
"""

from __future__ import annotations

import socket
import time
from multiprocessing.connection import Connection
from typing import Any

import grpc.aio

from ratsvc.bench import processes as p

ACKNOWLEDGEMENT = b"\x0a\x10" + b"0" * 16


def writing(readers: int, rounds: int, size: int) -> list[float]:
    """`size` bytes to each of `readers` sockets: seconds from the start to the last reader, for each round."""
    _, writer = p.in_process(_write_all, readers, rounds, b"x" * size)
    port: int = p.received(writer)
    _, reading = p.in_process(p.read_many, port, "", readers, rounds, size)
    p.expect(writer, "ready", 60)
    p.expect(reading, "ready", 60)
    took = []
    for _ in range(rounds):
        began = time.monotonic()
        writer.send("go")
        took.append(p.received(reading) - began)
    writer.send("end")
    return took


def acknowledging(message: bytes, count: int) -> float:
    """`message` `count` times over one gRPC stream to a server that only acknowledges: messages a second."""
    process, server = p.in_process(_acknowledge)
    port: int = p.received(server)
    _, producer = p.in_process(p.produce, port, message, count)
    p.expect(producer, "ready")
    producer.send("go")
    began, ended = p.received(producer)
    process.kill()
    return count / float(ended - began)


def _write_all(readers: int, rounds: int, data: bytes, pipe: Connection) -> None:
    """Writes `data` to each accepted socket, once a round, when told to."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=readers)
    pipe.send(listener.getsockname()[1])
    socks = [listener.accept()[0] for _ in range(readers)]
    pipe.send("ready")
    for _ in range(rounds):
        pipe.recv()
        for sock in socks:
            sock.send(data)
    pipe.recv()


def _acknowledge(pipe: Connection) -> None:
    """A `PublishStream` that answers each request and looks at none, on the loop that the service runs on."""
    import uvloop

    async def stream(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        while await context.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await context.write(ACKNOWLEDGEMENT)

    async def serve() -> None:
        server = grpc.aio.server()
        methods = {"PublishStream": grpc.stream_stream_rpc_method_handler(stream)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("rat.v1.ProducerService", methods),))
        pipe.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    uvloop.run(serve())
