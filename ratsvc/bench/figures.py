"""What the figures cost: the service with them and without, in turns, and the calls that a batch makes.

Processor seconds are compared, not records a second: on a shared machine time on the clock says more of its other
users. What one call costs is measured in this process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from statistics import median
from time import perf_counter
from typing import Any

from ratsvc.bench.scenarios import Options, Result, throughput
from ratsvc.bench.uncounted import COUNTING
from ratsvc.core.draft import Draft
from ratsvc.core.figures import Figures, Histogram
from ratsvc.core.record import Batch, Encoding, Framing
from ratsvc.flow.broker import Broker, ReadRequest
from ratsvc.formats import make_format
from ratsvc.quickmem import wire
from ratsvc.settings import Settings


def figures(options: Options) -> Result:
    """SSE throughput with figures and without, `options.pairs` times in turn."""
    run = throughput("sse", has_floor=False)
    pairs: list[dict[bool, Result]] = []
    for at in range(options.pairs):
        order = (True, False) if at % 2 else (False, True)
        pairs.append({is_counted: run(replace(options, counted=is_counted)) for is_counted in order})
    cpu = median(_cpu(pair[True]) for pair in pairs)
    ratios = [_cpu(pair[True]) / _cpu(pair[False]) for pair in pairs if _cpu(pair[False])]
    calls, micros = asyncio.run(_calls_of_a_batch(options.batch))
    result = replace(pairs[-1][True], scenario="figures", server_cpu_s_per_million=cpu, options=asdict(options))
    result.note = f"a batch of {options.batch} makes {calls} calls that count, {micros:.1f} µs"
    if ratios and cpu:
        batch = cpu * options.batch
        result.note += (
            f" of its {batch:,.0f} µs ({micros / batch:.2%}); with figures {median(ratios):.3f} × the CPU without:"
            f" median of {len(ratios)} pairs, {min(ratios):.3f} to {max(ratios):.3f}"
        )
    return result


def _cpu(result: Result) -> float:
    return result.server_cpu_s_per_million or 0.0


SCENARIOS: dict[str, Callable[[Options], Result]] = {"figures": figures}


async def _calls_of_a_batch(batch: int) -> tuple[int, float]:
    """How many calls count one publish that goes to one live reader, and what they cost together, in µs."""
    calls: Counter[str] = Counter()
    costs = {"observe": _cost_of_observing(), "encoding": _cost_of_encoding(), "delivered": _cost_of_delivering()}
    draft = Draft("bench", [wire.record({"n": 1})] * batch)
    async with Broker(Settings()) as broker:
        with await broker.subscribe(ReadRequest(("bench",))) as subscription:
            await subscription.poll()
            reading = asyncio.create_task(subscription.live(make_format("sse", epoch=broker.epoch), _Sink()))
            await asyncio.sleep(0)  # it is live from its first step on
            originals = [(owner, name, getattr(owner, name)) for owner, name in COUNTING]
            for owner, name, original in originals:
                setattr(owner, name, _counting(calls, name, original))
            try:
                await broker.submit(draft)
            finally:
                for owner, name, original in originals:
                    setattr(owner, name, original)
            reading.cancel()
            await asyncio.wait({reading})
    return sum(calls.values()), sum(costs.get(name, 0.0) * count for name, count in calls.items())


class _Sink:
    """A reader that takes everything."""

    coding = None

    def push(self, data: Encoding, offset: int) -> bool:
        return True

    def framing(self) -> Framing:
        return bytes


def _counting(calls: Counter[str], name: str, original: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        calls[name] += 1
        original(*arguments)

    return call


def _timed(call: Callable[[], None], times: int = 20_000) -> float:
    """Microseconds of a call: the best of five."""
    best = float("inf")
    for _ in range(5):
        began = perf_counter()
        for _ in range(times):
            call()
        best = min(best, (perf_counter() - began) / times)
    return best * 1e6


def _cost_of_observing() -> float:
    histogram = Histogram((0.0001, 0.001, 0.01, 0.1, 1.0, 10.0))
    return _timed(lambda: histogram.observe(0.003))


def _cost_of_encoding() -> float:
    found, batches = Figures(), [Batch("bench", range(1), 0, [b""])]
    return _timed(lambda: found.encoding("sse", "sse", batches))


def _cost_of_delivering() -> float:
    found = Figures()
    return _timed(lambda: found.delivered("sse", 256, 20_000))
