"""Traces: what became of a publish, as OpenTelemetry spans.

- *ingest*, a server span for each publish request (each message of a PublishStream), until it is acknowledged; its
  parent is what the request's `traceparent` says. The records are given the ingest's context as headers
  (`traceparent`, `tracestate`), or the request's where there is no span; a record that came with a `traceparent` of its
  own keeps it.
- *commit*, one a group commit, linked to the ingests of the requests whose records it stored.
- *deliver*, one for all live readers of a commit, and one for each write to a reader that catches up, linked to the
  contexts of the records.

A span that serves one context is its child too, so that a single publish is one trace; one that serves many has links
alone. Only sampled contexts have spans: those whose sender samples them, and of the others `sample_ratio`; and of all
spans at most `max_spans_per_s`, whatever clients ask for.
Where tracing is off this module is not imported, and costs one `is None` a publish, commit and write.
"""

from __future__ import annotations

import random
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter, time_ns
from typing import Any

from opentelemetry import trace as otel
from opentelemetry.util.types import AttributeValue

from ratsvc.core.draft import Draft
from ratsvc.core.items import Item
from ratsvc.core.record import Batch
from ratsvc.core.trace import TraceContext, Traced
from ratsvc.errors import RatError
from ratsvc.observability.carried import carry, own_contexts, sampled_contexts
from ratsvc.observability.exporting import Exporting
from ratsvc.observability.request import Request, current
from ratsvc.settings import Settings

MAX_LINKS = 128
#: So many links cost about what a span does, and count as one.
LINKS_A_SPAN = 16
#: Of a batch with more contexts, readers that catch up find them in the records alone.
MAX_KEPT = 4
Attributes = Mapping[str, AttributeValue]


@dataclass(slots=True)
class Ingest:
    """A publish request, as its span says it."""

    name: str
    attributes: Attributes
    each: bool = False
    """Whether each publish of the request has a span of its own: the request is a stream of them."""
    began_ns: int = field(default_factory=time_ns)
    span: otel.Span | None = None
    decided: bool = False
    """Whether it is known if there is a span."""

    def one(self) -> Ingest:
        """The next publish of a stream of them."""
        return Ingest(self.name, self.attributes)


class Tracing:
    """Makes the spans. Raises SettingsError when the exporter cannot be set up."""

    def __init__(self, settings: Settings) -> None:
        self._exporting = Exporting(settings.tracing)
        self._ratio = settings.tracing.sample_ratio
        self._per_second = settings.tracing.max_spans_per_s
        self._max_record = settings.limits.value_bytes
        self._second, self._in_second = 0, 0
        self.spans = 0
        """Spans made."""
        self.refused = 0
        """Spans not made because there were too many in that second."""

    async def close(self) -> None:
        """Sends what waits to be sent."""
        await self._exporting.close()

    def publishing(
        self, request: Request, name: str, attributes: Attributes, context: TraceContext | None, *, each: bool = False
    ) -> None:
        """A request that publishes has begun; `context` is the client's."""
        request.trace = context
        request.ingest = Ingest(name, {**attributes, "ratsvc.request_id": request.id}, each)

    def admit(self, draft: Draft) -> Callable[[Future[Any]], None] | None:
        """A publish is about to be queued: gives its records their context.

        Returns:
            What to call when it is done, or None.
        """
        request = current()
        given = request.trace if request is not None else None
        whole = request.ingest if request is not None else None
        ingest = Ingest("publish", {}) if whole is None else whole.one() if whole.each else whole
        own, all_own = own_contexts(draft, MAX_LINKS)
        span = self._begun(ingest, given, own)
        context = _context(span, given) if span is not None else given
        if context is not None and not all_own:
            carry(draft, context, self._max_record)
        under = [one for one in own if one.sampled]
        if span is not None and context is not None:
            span.set_attribute("messaging.destination.name", draft.stream)
            span.set_attribute("messaging.batch.message_count", len(draft))
            draft.trace = Traced(context, tuple(under if all_own else [context, *under]))
        elif under:
            draft.trace = Traced(None, tuple(under))
        return _Ended(span) if span is not None and ingest is not whole else None

    def refused_publish(self, error: RatError) -> None:
        """A publish of a stream of them was refused before it was queued."""
        request = current()
        if request is not None and request.ingest is not None and request.ingest.each:
            span = self._begun(request.ingest.one(), request.trace, ())
            if span is not None:
                _end(span, error)

    def answered(self, request: Request, failed: str | None, attributes: Attributes) -> None:
        """A request is over; `failed` says how, where it was not served."""
        ingest = request.ingest
        if ingest is None or ingest.each:
            return
        span = self._begun(ingest, request.trace, ())
        if span is not None:
            span.set_attributes(attributes)
            if failed is not None:
                span.set_status(otel.StatusCode.ERROR, failed)
            span.end()

    def committed(
        self,
        batches: Sequence[Batch],
        began: float,
        ended: float,
        delivered: float,
        live_readers: Callable[[Sequence[Batch]], Mapping[str, int]],
    ) -> None:
        """A commit was made and written to its live readers, by format; times are `perf_counter`'s."""
        traced = [batch.trace for batch in batches if batch.trace is not None]
        if not traced:
            return
        requests = _first(context for one in traced for context in ((one.request,) if one.request else one.records))
        size: Attributes = {
            "ratsvc.publishes": len(batches),
            "ratsvc.records": sum(map(len, batches)),
            "ratsvc.bytes": sum(batch.size for batch in batches),
        }
        began_ns, ended_ns, delivered_ns = _unix_ns(began, ended, delivered)
        self._span("commit", requests, None, began_ns, ended_ns, size)
        if readers := live_readers(batches):
            under = _first(context for one in traced for context in one.records)
            reached: Attributes = {
                "ratsvc.live": True,
                "ratsvc.readers": sum(readers.values()),
                "ratsvc.formats": sorted(readers),
            }
            self._span("deliver", under, None, ended_ns, delivered_ns, {**reached, **size})
        for batch in batches:
            if batch.trace is not None and len(batch.trace.records) > MAX_KEPT:
                batch.trace = None

    def delivered(self, items: Iterable[Item], fmt: str, size: int, began: float) -> None:
        """Items were written to one reader, as `size` bytes, since `began` (`perf_counter`)."""
        batches = [item for item in items if isinstance(item, Batch)]
        under = _first(context for batch in batches for context in sampled_contexts(batch))
        if not under:
            return
        request = current()
        reader = request.trace if request is not None and request.trace and request.trace.sampled else None
        attributes: Attributes = {
            "ratsvc.live": False,
            "ratsvc.readers": 1,
            "ratsvc.formats": [fmt],
            "ratsvc.records": sum(map(len, batches)),
            "ratsvc.bytes": size,
        }
        began_ns, ended_ns = _unix_ns(began, perf_counter())
        self._span("deliver", under, reader, began_ns, ended_ns, attributes)

    def _begun(self, ingest: Ingest, given: TraceContext | None, own: Sequence[TraceContext]) -> otel.Span | None:
        """The ingest's span, begun when it is first asked for; None where it is not sampled."""
        if not ingest.decided:
            ingest.decided = True
            senders = (given,) if given is not None else own
            sampled = any(one.sampled for one in senders) if senders else random.random() < self._ratio
            if sampled and self._room(own):
                parent = given or (own[0] if len(own) == 1 else None)
                ingest.span = self._start(
                    ingest.name, otel.SpanKind.SERVER, own, parent, ingest.began_ns, ingest.attributes
                )
        return ingest.span

    def _span(
        self,
        name: str,
        contexts: Sequence[TraceContext],
        parent: TraceContext | None,
        began_ns: int,
        ended_ns: int,
        attributes: Attributes,
    ) -> None:
        """A span that is over."""
        if contexts and self._room(contexts):
            parent = parent or (contexts[0] if len(contexts) == 1 else None)
            span = self._start(name, otel.SpanKind.INTERNAL, contexts, parent, began_ns, attributes)
            span.end(ended_ns)

    def _start(
        self,
        name: str,
        kind: otel.SpanKind,
        contexts: Sequence[TraceContext],
        parent: TraceContext | None,
        began_ns: int,
        attributes: Attributes,
    ) -> otel.Span:
        self.spans += 1
        above = otel.NonRecordingSpan(_remote(parent)) if parent is not None else otel.INVALID_SPAN
        links = [otel.Link(_remote(context)) for context in contexts]
        within = otel.set_span_in_context(above)
        return self._exporting.tracer.start_span(name, within, kind, attributes, links, began_ns)

    def _room(self, links: Sequence[TraceContext]) -> bool:
        """Whether one more span, with these links, may be made in this second."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        if self._in_second >= self._per_second:
            self.refused += 1
            return False
        self._in_second += 1 + len(links) // LINKS_A_SPAN
        return True


@dataclass(slots=True, frozen=True)
class _Ended:
    """Ends a publish's span when it is acknowledged or refused."""

    span: otel.Span

    def __call__(self, done: Future[Any]) -> None:
        _end(self.span, None if done.cancelled() else done.exception())


def _end(span: otel.Span, error: BaseException | None) -> None:
    if error is not None:
        slug = error.slug if isinstance(error, RatError) else type(error).__name__
        span.set_attribute("error.type", slug)
        span.set_status(otel.StatusCode.ERROR, slug)
    span.end()


def _unix_ns(*moments: float) -> list[int]:
    """Moments of `perf_counter` as Unix time."""
    now_ns, now = time_ns(), perf_counter()
    return [now_ns - int((now - moment) * 1e9) for moment in moments]


def _context(span: otel.Span, given: TraceContext | None) -> TraceContext:
    """A span's context, with what its sender's vendors added."""
    made = span.get_span_context()
    state = given.state if given is not None else ""
    return TraceContext(f"{made.trace_id:032x}", f"{made.span_id:016x}", int(made.trace_flags), state)


def _remote(context: TraceContext) -> otel.SpanContext:
    state = otel.TraceState.from_header([context.state]) if context.state else None
    flags = otel.TraceFlags(context.flags)
    return otel.SpanContext(int(context.trace_id, 16), int(context.span_id, 16), True, flags, state)


def _first(contexts: Iterable[TraceContext]) -> list[TraceContext]:
    """The first different ones, at most MAX_LINKS."""
    found: dict[TraceContext, None] = {}
    for context in contexts:
        found[context] = None
        if len(found) == MAX_LINKS:
            break
    return list(found)
