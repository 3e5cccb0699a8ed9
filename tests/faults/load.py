"""The load of the fault tests: producers and readers in processes of their own, and the checker over their ledgers."""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.faults import ledger
from tests.faults.checker import Gap, LogNotes, ProducerNotes, ReaderNotes, check
from tests.faults.producing import ProducerPlan, Progress, produce
from tests.faults.reading import ReaderPlan, read

spawn = mp.get_context("spawn")
FORMATS: tuple[Literal["sse", "ndjson", "binary"], ...] = ("sse", "ndjson", "binary", "sse")
ANSWER_TIMEOUT_S = 60.0
SHARED = "load.shared"


class Process:
    """A child that says `ready`, takes messages and says `done`."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=target, args=(*arguments, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
        """Its next message. Raises TimeoutError."""
        if not self._pipe.poll(timeout_s):
            raise TimeoutError(f"no word from {self._process.name} in {timeout_s:g} s")
        return self._pipe.recv()

    def has_word(self, timeout_s: float) -> bool:
        """Whether a message comes in time."""
        return self._pipe.poll(timeout_s)

    def send(self, message: object) -> None:
        """Tells it something."""
        self._pipe.send(message)

    def close(self, patience_s: float = 5.0) -> int | None:
        """Ends it: it sees that nobody is there any more, and after `patience_s` it is killed. Returns its exit
        code."""
        self._pipe.close()
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code: int | None = self._process.exitcode
        self._process.close()
        return code


@dataclass(slots=True)
class Outcome:
    """What a load came to."""

    violations: list[str]
    producers: list[ProducerNotes]
    readers: list[ReaderNotes]
    log: LogNotes

    def __str__(self) -> str:
        sent = sum(len(notes.sent) for notes in self.producers)
        acknowledged = sum(len(notes.acknowledged) for notes in self.producers)
        seen = sum(len(notes.items) for notes in self.readers)
        gaps = sum(isinstance(item, Gap) for notes in self.readers for item in notes.items)
        told = f" with {gaps} gaps" if gaps else ""
        return (
            f"{sent} records sent, {acknowledged} acknowledged, {len(self.log.records)} stored, "
            f"{seen - gaps} seen by {len(self.readers)} readers{told}, {len(self.violations)} violations"
        )


class Load:
    """Producers and readers at work, as a context manager.

    Args:
        directory: for the ledgers.
        grpc, url: of the service, or of a proxy before it.
        producers, readers: how many.
        processes: over how many processes each are spread.
        plan: what all producers do, as `ProducerPlan`'s arguments.
    """

    def __init__(
        self,
        directory: Path,
        grpc: str,
        url: str,
        *,
        producers: int = 4,
        readers: int = 4,
        processes: int = 1,
        **plan: Any,
    ) -> None:
        self._grpc, self._url = grpc, url
        self._processes = processes
        self._producers = [
            ProducerPlan(f"producer{at}", directory / f"producer{at}.ledger", (SHARED, f"load.own.{at}"), **plan)
            for at in range(producers)
        ]
        choices = [("load.>",), ("load.>",), (SHARED,), ("load.own.0", SHARED, "load.own.1")]
        self._readers = [
            ReaderPlan(f"reader{at}", directory / f"reader{at}.ledger", choices[at % 4], FORMATS[(at + at // 4) % 4])
            for at in range(readers)
        ]
        self._progress = Progress(spawn)
        self._children: list[Process] = []

    def __enter__(self) -> Self:
        self._producing = [
            Process(produce, self._grpc, self._producers[at :: self._processes], self._progress)
            for at in range(self._processes)
        ]
        self._reading = [
            Process(read, self._url, self._readers[at :: self._processes]) for at in range(self._processes)
        ]
        self._children = self._producing + self._reading
        for child in self._children:
            child.receive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.close()

    def wait_for_progress(self) -> None:
        """Returns when something is acknowledged that was not yet. Raises TimeoutError."""
        self._progress.wait_for(1, ANSWER_TIMEOUT_S, more=True)

    def wait_for(self, acknowledged: int) -> None:
        """Returns when so many records are acknowledged. Raises TimeoutError."""
        self._progress.wait_for(acknowledged, ANSWER_TIMEOUT_S)

    def finish(self, url: str, patience_s: float = ANSWER_TIMEOUT_S, *, has_retention: bool = False) -> Outcome:
        """Stops the producers, lets the readers come to the end of the log, and compares all notes.

        Args:
            url: of the service, which must be running.
            patience_s: for readers to arrive.
            has_retention: whether records may have been removed from the beginning of each stream.
        """
        for child in self._producing:
            child.send("stop")
        for child in self._producing:
            if not child.has_word(ANSWER_TIMEOUT_S):
                raise TimeoutError(f"not everything was acknowledged in {ANSWER_TIMEOUT_S:g} s")
        log = ledger.log_notes(url, "load.>")
        if has_retention:
            oldest: dict[str, int] = {}
            for stored in log.records:
                oldest.setdefault(stored.record.stream, stored.offset)
            log.evicted = max(oldest.values()) - 1
        return self._compare(log, patience_s)

    def wait_until_sent(self, timeout_s: float) -> None:
        """Returns when producers that have a number of records to send have had all answers. Raises TimeoutError."""
        for child in self._producing:
            child.receive(timeout_s)

    def _compare(self, log: LogNotes, patience_s: float) -> Outcome:
        until = {}
        for plan in self._readers:
            wants = ReaderNotes(plan.name, plan.streams).wants
            until[plan.name] = max((one.offset for one in log.records if wants(one.record.stream)), default=0)
        for child in self._reading:
            child.send(until)
        for child in self._reading:
            child.has_word(patience_s)
            child.send("end")
        codes = [child.close() for child in self._children]
        self._children = []
        if any(codes):
            raise RuntimeError(f"the load broke: its processes ended with {codes}")
        producers = [ledger.producer_notes(plan.name, plan.ledger) for plan in self._producers]
        readers = [ledger.reader_notes(plan.name, plan.streams, plan.ledger) for plan in self._readers]
        return Outcome(check(producers, readers, log), producers, readers, log)
