"""Log lines and request ids: one line an event, with ids that clients may choose and cannot abuse."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator

import grpc.aio
import httpx
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rat.v1 import consumer_pb2, consumer_pb2_grpc, producer_pb2, producer_pb2_grpc

from ratsvc.observability import logs
from tests.conftest import Running, running
from tests.integration.http.raw import get, send

HOSTILE = ["", "a" * 129, "a b", "a\tb", 'a"b', "a\\nb", "a%0d%0ab", "{}", "é", "<script>", "a;b", "${jndi:x}"]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines; the state of all logging is put back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    file = io.StringIO()
    logs.configure("json", "info", file)
    # Loggers that were used before have their configuration for good.
    with pytest.MonkeyPatch.context() as patched:
        for module in ("ratsvc.http_api.gate.log", "ratsvc.grpc_api.calls._log", "ratsvc.grpc_api.status._log"):
            patched.setattr(module, structlog.get_logger())
        yield file
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(file: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


async def test_a_request_s_id_is_in_the_answer_the_problem_and_the_log(server: Running, written: io.StringIO) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        given = await client.get("/v1/streams/none/info", headers={"X-Request-Id": "web-1/ab.c:d@e=+"})
        made = await client.get("/healthz?no=1")
        again = await client.get("/openapi.json")
    assert given.headers["x-request-id"] == given.json()["request_id"] == "web-1/ab.c:d@e=+"
    assert made.headers["x-request-id"] == made.json()["request_id"]
    assert len({made.headers["x-request-id"], again.headers["x-request-id"]}) == 2
    found = {line["request_id"]: line for line in lines(written)}
    assert found["web-1/ab.c:d@e=+"]["status"] == 404
    assert found[again.headers["x-request-id"]]["path"] == "/openapi.json"
    assert all({"event", "level", "timestamp"} <= line.keys() for line in found.values())


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_a_hostile_id_is_replaced_and_not_echoed(server: Running, written: io.StringIO, hostile: str) -> None:
    answer = await send(server.http_port, get("/openapi.json", f"X-Request-Id: {hostile}"))
    assert answer.headers["x-request-id"] != hostile.strip()
    assert answer.headers["x-request-id"].replace("-", "").isalnum()
    [line] = lines(written)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert not hostile or hostile not in written.getvalue()


async def test_an_id_that_comes_twice_is_replaced(server: Running) -> None:
    answer = await send(server.http_port, get("/v1/streams", "X-Request-Id: one", "X-Request-Id: two"))
    assert answer.headers["x-request-id"] not in ("one", "two", "one, two")


async def test_a_stream_s_head_has_the_id_and_a_refused_head_too(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http_url) as client:
        async with client.stream("GET", "/v1/streams/s?format=sse", headers={"x-request-id": "reader"}) as response:
            assert response.headers["x-request-id"] == "reader"
    refused = await send(
        server.http_port, get("/healthz", "X-Request-Id: early", "Content-Length: 1", "Content-Length: 2")
    )
    assert refused.status == 400
    headers = [f"h{number}: 1" for number in range(101)]
    refused = await send(server.http_port, get("/healthz", "X-Request-Id: early", *headers))
    assert (refused.status, refused.headers["x-request-id"], refused.problem()["request_id"]) == (431, "early", "early")


async def test_a_call_s_id_is_in_its_metadata_and_the_log(server: Running, written: io.StringIO) -> None:
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        publish = producer_pb2_grpc.ProducerServiceStub(channel).Publish
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await publish(producer_pb2.PublishRequest(stream="s"), metadata=(("x-request-id", "call-1"),))
        trailers = dict(refused.value.trailing_metadata() or ())
        assert trailers["x-request-id"] == "call-1"
        status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
        assert any(detail.Is(error_details_pb2.BadRequest.DESCRIPTOR) for detail in status.details)
        hostile = publish(producer_pb2.PublishRequest(stream="s"), metadata=(("x-request-id", "a b\\r"),))
        assert "a b" not in dict(await hostile.trailing_metadata())["x-request-id"]
        ask = consumer_pb2.SubscribeRequest(streams=["s"])
        call = consumer_pb2_grpc.ConsumerServiceStub(channel).Subscribe(ask, metadata=(("x-request-id", "reader"),))
        assert dict(await call.initial_metadata())["x-request-id"] == "reader"
        call.cancel()
    found = [line for line in lines(written) if line["event"] == "call"]
    assert found[0]["request_id"] == "call-1"
    assert (found[0]["method"], found[0]["code"]) == ("Publish", "INVALID_ARGUMENT")


async def test_a_call_of_an_unknown_method_is_refused_by_name_and_has_its_line_and_its_count(
    server: Running, written: io.StringIO
) -> None:
    paths = ["/rat.v1.ProducerService/Publisch", "/rat.v0.Producer/Publish", "/\x7f" + "x" * 5_000]
    calls = server.broker.figures.calls
    async with grpc.aio.insecure_channel(server.grpc_addr) as channel:
        for count, path in enumerate(paths, 1):
            call = channel.unary_unary(path, None, None)(b"", metadata=(("x-request-id", "call-2"),))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            shown = ascii(path)[1:-1][:256]
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert refused.value.details() == f"there is no method {shown}"
            async with asyncio.timeout(10):
                while calls["unknown", "UNIMPLEMENTED"] < count:  # the answer goes out before that
                    await asyncio.sleep(0.01)
            line = lines(written)[-1]
            found = {name: line[name] for name in ("event", "method", "path", "code", "request_id")}
            assert found == {
                "event": "call", "method": "unknown", "path": shown, "code": "UNIMPLEMENTED", "request_id": "call-2",
            }  # fmt: skip
    assert calls == {("unknown", "UNIMPLEMENTED"): len(paths)}
    assert server.broker.figures.open_calls == {"unknown": 0}


async def test_lines_have_the_trace_too() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    tracing = {"enabled": True, "endpoint": "http://127.0.0.1:9", "sample_ratio": 0.0}
    async with running(tracing=tracing) as server, httpx.AsyncClient(base_url=server.http_url) as client:
        with structlog.testing.capture_logs(processors=[logs._with_ids]) as captured:
            headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-00"}
            assert (await client.get("/v1/streams", headers=headers)).status_code == 200
    assert [line["trace_id"] for line in captured if line["event"] == "request"] == [trace]


def test_the_level_changes_while_it_runs(written: io.StringIO) -> None:
    log = structlog.get_logger()
    for level in ("warning", "debug"):
        logs.set_level(level)
        assert logs.level() == level
        log.debug("fine", at=level)
        log.info("event", at=level)
        log.error("bad", at=level)
    assert [(line["event"], line["at"]) for line in lines(written)] == [
        ("bad", "warning"), ("fine", "debug"), ("event", "debug"), ("bad", "debug"),
    ]  # fmt: skip


def test_what_libraries_say_comes_as_lines_of_the_same_form(written: io.StringIO) -> None:
    logging.getLogger("library").info("chatter")
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("library").exception("failed %s", "here")
    logging.captureWarnings(False)  # pytest has taken it back since the fixture
    logging.captureWarnings(True)
    warnings.simplefilter("always")
    warnings.warn("old", DeprecationWarning, stacklevel=1)
    failed, warned = lines(written)
    assert (failed["event"], failed["logger"], failed["level"]) == ("failed here", "library", "error")
    assert "ValueError: a\nb" in str(failed["exception"])
    assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")


def test_a_line_is_one_line_whatever_is_in_it(written: io.StringIO) -> None:
    structlog.get_logger().info("event", path="a\r\nb\u2028\x1b[31m", what=object())
    assert len(written.getvalue().splitlines()) == 1


def test_pretty_lines_are_for_people(written: io.StringIO) -> None:
    file = io.StringIO()
    logs.configure("pretty", "info", file)
    structlog.get_logger().info("ready", port=1)
    assert "ready" in file.getvalue()
    assert "port=1" in file.getvalue()
