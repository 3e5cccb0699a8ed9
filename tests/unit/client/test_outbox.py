"""What a producer sends and sends again, against the service's own rules for duplicates, without a connection."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from rat.v1 import producer_pb2 as pb
from rat.v1 import record_pb2

from ratsvc.client.outbox import Delivered, Outbox
from ratsvc.core.dedupe import Claim, Dedupe
from ratsvc.core.draft import ProducerRef
from ratsvc.errors import Busy, DiskFull, InvalidArgument, RatError, TooLarge, Unavailable

TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 200
"""What the connection takes in one piece."""


class Sending:
    """An outbox on a clock that stands still, and what its senders hold."""

    def __init__(self, **limits: int) -> None:
        self.now = 0.0
        self.changes = 0
        self.outbox = Outbox(
            "p", "there", **{"max_records": 3, "max_bytes": 500, "window": 4, **limits}, timeout_s=TIMEOUT_S,
            changed=self.changed, clock=lambda: self.now,
        )  # fmt: skip
        self.futures: list[Future[Delivered]] = []

    def changed(self) -> None:
        self.changes += 1

    def send(self, stream: str, size: int = 0) -> None:
        record = record_pb2.Record(key=str(len(self.futures)), event="x" * size)
        self.futures.append(Future())
        self.outbox.add(stream, record.SerializeToString(), self.futures[-1])

    def requests(self) -> list[pb.PublishRequest]:
        found = []
        while (data := self.outbox.next_request()) is not None:
            found.append(pb.PublishRequest.FromString(data))
        return found


def keys(request: pb.PublishRequest) -> list[int]:
    return [int(record.key) for record in request.records]


def test_a_batch_goes_when_it_is_full_and_no_more_than_the_window_are_in_flight() -> None:
    sending = Sending(window=2)
    for _ in range(8):
        sending.send("s")
    assert [keys(request) for request in sending.requests()] == [[0, 1, 2], [3, 4, 5]]
    sending.outbox.seal_all()
    assert sending.requests() == []
    before = sending.changes
    assert sending.outbox.acknowledged(pb.PublishResponse(first_offset=1, last_offset=3, stored=3, epoch="e"))
    assert sending.changes > before
    assert [keys(request) for request in sending.requests()] == [[6, 7]]
    assert [future.result().cursor for future in sending.futures[:3]] == ["e-1", "e-2", "e-3"]


def test_a_batch_has_room_for_bytes_too_and_counts_them_until_it_is_answered() -> None:
    sending = Sending(max_records=100)
    for _ in range(3):
        sending.send("s", 300)
    sending.outbox.seal_all()
    assert [keys(request) for request in sending.requests()] == [[0], [1], [2]]
    assert sending.outbox.buffered > 900
    for at in range(1, 4):
        sending.outbox.acknowledged(pb.PublishResponse(first_offset=at, last_offset=at, stored=1))
    assert sending.outbox.buffered == 0
    assert sending.outbox.is_empty


def test_what_is_sent_again_has_the_numbers_that_it_had() -> None:
    sending = Sending()
    for _ in range(4):
        sending.send("s")
    sending.outbox.seal_all()
    first = sending.requests()
    assert [request.producer.sequence for request in first] == [1, 4]
    sending.outbox.broken(Unavailable("gone"))
    sending.outbox.connected()
    assert sending.requests() == first


def test_a_batch_of_which_some_was_stored_before_has_the_offsets_of_both_times() -> None:
    sending = Sending()
    for _ in range(3):
        sending.send("s")
    sending.requests()
    sending.outbox.acknowledged(
        pb.PublishResponse(first_offset=5, last_offset=19, stored=1, duplicates=2, epoch="e"),
    )
    assert [future.result() for future in sending.futures] == [
        Delivered(5, "e-5", True), Delivered(6, "e-6", True), Delivered(19, "e-19", False),
    ]  # fmt: skip


@pytest.mark.parametrize("trouble", [Busy("no room"), DiskFull("no room")])
def test_what_was_refused_for_want_of_room_until_it_was_too_late_fails_as_that(trouble: RatError) -> None:
    sending = Sending()
    sending.send("s")
    sending.outbox.seal_all()
    sending.requests()
    sending.outbox.refused(trouble)
    sending.now = TIMEOUT_S
    sending.outbox.expire()
    assert not sending.futures[0].done()
    sending.now += 0.1
    sending.outbox.expire()
    with pytest.raises(type(trouble), match="not delivered to there in 10 s: no room"):
        sending.futures[0].result()
    assert type(sending.outbox.failure) is type(trouble)


def test_what_may_be_stored_from_a_connection_that_was_cut_is_not_said_to_be_refused() -> None:
    sending = Sending()
    sending.send("s")
    sending.outbox.seal_all()
    sending.requests()
    sending.outbox.broken(Unavailable("cut"))
    sending.outbox.connected()
    sending.requests()
    sending.outbox.refused(Busy("no room"))
    sending.now = TIMEOUT_S + 0.1
    sending.outbox.expire()
    with pytest.raises(Unavailable, match=r"\(no room\); it may be stored all the same"):
        sending.futures[0].result()


def test_with_what_is_too_late_goes_what_was_sent_behind_it_and_only_the_rest_is_numbered_anew() -> None:
    sending = Sending(window=2)
    for stream in "abc":
        sending.send(stream)
        sending.outbox.seal(stream)
        sending.now += 1
    (request, _) = sending.requests()
    sending.outbox.broken(Unavailable("cut"))
    sending.now = TIMEOUT_S + 0.1
    sending.outbox.expire()
    sending.outbox.connected()
    for future in sending.futures[:2]:
        with pytest.raises(Unavailable, match=r"not delivered .* \(cut\); it may be stored all the same"):
            future.result(0)
    (again,) = sending.requests()
    assert (keys(again), again.producer.sequence) == ([2], 1)
    assert again.producer.epoch > request.producer.epoch


class Machine(RuleBasedStateMachine):
    """A producer and a service whose connection breaks at any moment; what was on its way may still arrive later."""

    @initialize()
    def begin(self) -> None:
        self.sending = Sending()
        self.outbox = self.sending.outbox
        self.dedupe = Dedupe(10, 10**18)
        self.stored: list[tuple[str, int]] = []
        self.streams: list[str] = []
        self.refused: set[int] = set()
        """First keys of requests that the service refuses for good, whenever they come."""
        self.wire: deque[pb.PublishRequest] = deque()
        self.answers: deque[pb.PublishResponse | RatError] = deque()
        self.late: list[deque[pb.PublishRequest]] = []

    @rule(stream=st.sampled_from("ab"), count=st.integers(1, 4), large=st.booleans())
    def send(self, stream: str, count: int, large: bool) -> None:
        for at in range(count):
            self.sending.send(stream, MAX_MESSAGE_BYTES if large and not at else 0)
            self.streams.append(stream)

    @rule(stream=st.sampled_from("ab"))
    def seal(self, stream: str) -> None:
        self.outbox.seal(stream)

    @rule(seconds=st.floats(0.1, TIMEOUT_S / 2))
    def wait(self, seconds: float) -> None:
        self.sending.now += seconds

    @rule()
    def write(self) -> None:
        data = self.outbox.next_request()
        if data is not None:
            self.wire.append(pb.PublishRequest.FromString(data))

    @precondition(lambda self: self.wire)
    @rule(refusal=st.sampled_from([None, None, None, Busy, InvalidArgument]))
    def serve(self, refusal: type[RatError] | None) -> None:
        if self.wire[0].ByteSize() > MAX_MESSAGE_BYTES:
            self.over(TooLarge("larger than max"))
        else:
            self.answers.append(self.take(self.wire.popleft(), refusal))

    @precondition(lambda self: self.late)
    @rule(at=st.integers(0, 9))
    def serve_late(self, at: int) -> None:
        requests = self.late[at % len(self.late)]
        request = requests.popleft()
        if request.ByteSize() > MAX_MESSAGE_BYTES:
            requests.clear()
        else:
            self.take(request, None)
        self.late = [left for left in self.late if left]

    @precondition(lambda self: self.answers)
    @rule()
    def answer(self) -> None:
        answer = self.answers.popleft()
        if isinstance(answer, RatError):
            self.outbox.refused(answer)
            self.over(None)
        elif not self.outbox.acknowledged(answer):
            self.over(None)

    @rule()
    def cut(self) -> None:
        self.over(Unavailable("cut"))

    def over(self, error: RatError | None) -> None:
        """The connection ends, as `Producer` takes it."""
        if self.wire:
            self.late.append(self.wire)
        self.wire, self.answers = deque(), deque()
        if error is not None:
            self.outbox.broken(error)
        self.outbox.expire()
        while self.outbox.fail_refused():
            pass
        self.outbox.connected()

    def take(self, request: pb.PublishRequest, refusal: type[RatError] | None) -> pb.PublishResponse | RatError:
        """What the service answers, as its sequencer does."""
        ref = ProducerRef(request.producer.id, request.producer.epoch, request.producer.sequence)
        count, last = len(request.records), len(self.stored)
        try:
            dropped, first = self.dedupe.duplicates(ref, count, 0)
            if dropped == count:
                return pb.PublishResponse(first_offset=first, last_offset=first + count - 1, duplicates=count)
            if refusal is InvalidArgument:
                self.refused.add(keys(request)[0])
            if keys(request)[0] in self.refused:
                raise InvalidArgument("refused")
            if refusal is not None:
                raise refusal("refused")
        except RatError as error:
            return error
        self.stored += [(request.stream, key) for key in keys(request)[dropped:]]
        self.dedupe.claim(Claim(ref, ref.sequence + dropped, count - dropped, last + 1), 0)
        self.dedupe.commit()
        return pb.PublishResponse(
            first_offset=first or last + 1, last_offset=len(self.stored), stored=count - dropped, duplicates=dropped
        )

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.outbox.seal_all()
        self.over(None)
        while not self.outbox.is_empty:
            self.write()
            if self.wire:
                self.serve(None)
            if self.answers:
                self.answer()
        self.check()

    def check(self) -> None:
        stored = [key for _, key in self.stored]
        assert len(set(stored)) == len(stored)
        for stream in "ab":
            of_stream = [key for name, key in self.stored if name == stream]
            assert of_stream == sorted(of_stream)
        for key, future in enumerate(self.sending.futures):
            error = future.exception(0)
            if error is None:
                offset = future.result().offset
                assert self.stored[offset - 1] == (self.streams[key], key)
            elif not isinstance(error, Unavailable):
                assert key not in stored
        assert self.outbox.buffered == 0


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
