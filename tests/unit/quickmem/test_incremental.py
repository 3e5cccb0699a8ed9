"""Documents read and written item by item: the same items whatever the pieces, flat memory, broken input refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratsvc.quickmem import IncrementalDecoder, IncrementalEncoder, QuickCodec, decode, encode
from ratsvc.quickmem.incremental import Form

from . import model

FORMS: list[Form] = ["packed", "json"]
paths = st.lists(model.keys, max_size=3)


def written(items: list[object], path: list[str], form: Form) -> bytes:
    encoder = IncrementalEncoder(path, form=form, count=len(items))
    return b"".join([*map(encoder.encode, items), encoder.finish()])


def read(document: bytes, path: list[str], form: Form, step: int) -> list[object]:
    decoder = IncrementalDecoder(path, form=form)
    items: list[object] = []
    for at in range(0, len(document), step):
        items += decoder.feed(document[at : at + step])
    decoder.finish()
    return items


def nested(value: object, path: list[str]) -> object:
    for key in reversed(path):
        value = {key: value}
    return value


@given(st.lists(model.values, max_size=6), paths, st.integers(1, 50))
def test_packed_items_come_back_whatever_the_pieces(items: list[object], path: list[str], step: int) -> None:
    document = written(items, path, "packed")
    assert model.same(decode(document), nested(items, path))
    assert model.same(read(document, path, "packed", step), items)


@given(st.lists(model.json_values, max_size=6), paths, st.integers(1, 50))
def test_json_items_come_back_whatever_the_pieces(items: list[object], path: list[str], step: int) -> None:
    document = written(items, path, "json")
    assert json.loads(document) == nested(items, path)
    assert model.same(read(document, path, "json", step), items)


@given(model.json_values, model.json_values, st.lists(model.json_values, max_size=4), st.integers(1, 40))
def test_what_stands_beside_the_list_is_gone_over(
    before: object, after: object, items: list[object], step: int
) -> None:
    value = {"before": before, "it": {"x": [[{}]], "list": items, "y": after}, "after": {"list": [1]}}
    assert model.same(read(encode(value), ["it", "list"], "packed", step), items)
    for indent in (None, 2):
        document = json.dumps(value, indent=indent).encode() + b" \n"
        assert model.same(read(document, ["it", "list"], "json", step), items)


@given(st.binary(max_size=60), st.sampled_from(FORMS), st.integers(1, 9))
@example(b"[1,2]]", "json", 1)
@example(b'{"a":[}', "json", 9)
def test_any_bytes_are_read_or_refused(data: bytes, form: Form, step: int) -> None:
    for path in ([], ["a"]):
        try:
            items = read(data, path, form, step)
        except ValueError:
            continue
        whole = decode(data) if form == "packed" else json.loads(data)
        assert items == (whole["a"] if path else whole)


@pytest.mark.parametrize("form", FORMS)
def test_a_document_that_breaks_off_or_goes_on_is_refused(form: Form) -> None:
    document = written([{"n": n} for n in range(3)], ["a", "b"], form)
    for end in range(len(document)):
        decoder = IncrementalDecoder(["a", "b"], form=form)
        decoder.feed(document[:end])
        with pytest.raises(ValueError, match="ends before"):
            decoder.finish()
    decoder = IncrementalDecoder(["a", "b"], form=form)
    with pytest.raises(ValueError, match="followed by something"):
        decoder.feed(document + document[:1])
    with pytest.raises(ValueError, match="broken before"):
        decoder.feed(b"")
    for path in (["a"], ["b"], [], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="no list"):
            IncrementalDecoder(path, form=form).feed(document)


@pytest.mark.parametrize("form", FORMS)
def test_depth_and_size_of_items_are_bounded(form: Form) -> None:
    deep = b"\x91" * 10_000 if form == "packed" else b"[" * 10_000
    with pytest.raises(ValueError, match=r"deeper|ends before"):
        read(deep, [], form, 100)
    decoder = IncrementalDecoder(form=form, codec=QuickCodec(max_bytes=1000))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        decoder.feed(written(["x" * 2000], [], form)[:1900])


def test_an_encoder_keeps_to_its_count() -> None:
    encoder = IncrementalEncoder(count=1)
    with pytest.raises(ValueError, match="there were 0"):
        encoder.finish()
    encoder.encode(1)
    with pytest.raises(ValueError, match="one more"):
        encoder.encode(2)
    assert encoder.finish() == b""
    with pytest.raises(ValueError, match="needs count"):
        IncrementalEncoder()
    with pytest.raises(ValueError, match="form must be"):
        IncrementalDecoder(form="xml")  # type: ignore[arg-type]


def pieces(form: Form, count: int) -> Iterator[bytes]:
    """A document of about 250 bytes an item, beside a text of 8 MB."""
    item = {"id": 1, "text": "x" * 200, "tags": ["a", "b"]}
    encoder = IncrementalEncoder(["list"], form=form, count=count)
    if form == "json":
        yield b'{"long":"'
        for _ in range(128):
            yield b'\\"' * 32_768
        yield b'","list":['
        start = encoder.encode(item)
        yield start[start.index(b"[") + 1 :]
    else:
        yield encoder.encode(item)
    for _ in range(count - 1):
        yield encoder.encode(item)
    yield encoder.finish()


@pytest.mark.parametrize("form", FORMS)
def test_memory_stays_flat_over_a_large_document(form: Form) -> None:
    decoder = IncrementalDecoder(["list"], form=form)
    seen = size = 0
    tracemalloc.start()
    try:
        for piece in pieces(form, 20_000):
            size += len(piece)
            seen += len(decoder.feed(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    decoder.finish()
    assert seen == 20_000
    assert size > 4_000_000
    assert peak < 500_000
