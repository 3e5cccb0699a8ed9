"""Names, patterns, keys, event types and cursors: what is taken and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc import names
from ratsvc.core.cursor import Cursor, Earliest, LastN, Latest, SinceTime, parse_cursor, parse_start, parse_until
from ratsvc.errors import InvalidArgument, InvalidCursor

tokens = st.text("abcXYZ019_-", min_size=1, max_size=4)
stream_names = st.lists(tokens, min_size=1, max_size=16).map(".".join)


@pytest.mark.parametrize("name", ["a", "a.b", "A-1_z", ".".join("x" * 16), "x" * 200])
def test_a_good_name_is_taken(name: str) -> None:
    assert names.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a\nb", "a\0b", "é", "*", "a.*", ">", "../etc", "%2e", "\u202ea",
     "\ufeffa", "$SYS.x", "x" * 201, ".".join("x" * 17), "a/b"],
)  # fmt: skip
def test_a_bad_name_is_refused_and_shown_in_ascii(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        names.check_name(name)
    assert caught.value.field == "stream"
    assert caught.value.detail.isascii()
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("pattern", ["*", ">", "a.*", "a.>", "*.b.>", "a"])
def test_a_good_pattern_is_taken(pattern: str) -> None:
    assert names.check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["", "a*", ">.a", "a.>b", "**", "(a+)+$", "a" * 10_240, "*.", "a.>.b"])
def test_a_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument):
        names.check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("a", "a", True), ("a", "b", False), ("*", "a", True), ("*", "a.b", False), (">", "a.b.c", True),
        ("a.>", "a", False), ("a.>", "a.b", True), ("a.>", "a.b.c", True), ("*.b", "a.b", True),
        ("*.b", "a.c", False), ("a.*.c", "a.b.c", True), ("a.*.>", "a.b", False), ("a.*.>", "a.b.c", True),
    ],
)  # fmt: skip
def test_patterns_cover_as_nats_subjects_do(pattern: str, name: str, covered: bool) -> None:
    assert names.matches(pattern, name) is covered


@given(stream_names)
def test_every_name_is_covered_by_itself_and_by_all(name: str) -> None:
    assert names.matches(name, name)
    assert names.matches(">", name)
    assert names.matches(".".join("*" for _ in name.split(".")), name)


@pytest.mark.parametrize("event", ["gap", "end", "error", "reconnect", "a\nb", "a\r", "a\0", "e" * 129, "é" * 65])
def test_an_event_that_could_be_mistaken_or_break_a_line_is_refused(event: str) -> None:
    with pytest.raises(InvalidArgument):
        names.check_event(event)


def test_key_bytes_are_counted_in_utf8() -> None:
    assert names.check_key("é" * 128)
    with pytest.raises(InvalidArgument):
        names.check_key("é" * 129)


def test_every_form_of_a_start_is_read() -> None:
    assert parse_start("") == parse_start("latest") == Latest()
    assert parse_start("earliest") == Earliest()
    assert parse_start("-5") == LastN(5)
    assert parse_start("ab12-7") == Cursor("ab12", 7)
    assert parse_start("1970-01-01T00:00:01.5Z") == SinceTime(1_500_000_000)
    assert parse_start("1970-01-01t01:00:00.000000001+01:00") == SinceTime(1)


@pytest.mark.parametrize(
    "text",
    ["-0", "--1", "5", "newest", "2026-13-01T00:00:00Z", "2026-01-01", "-1x", "e-", "-", "' OR 1=1", "a" * 10_000],
)
def test_a_malformed_start_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_start(text)


@pytest.mark.parametrize("text", ["", "a", "a-", "-1", "A-1", "a-01", "a--1", f"a-{2**64}", "a-1\n", "a-1 ", "%61-1"])
def test_a_malformed_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        parse_cursor(text)


def test_an_end_is_now_or_a_cursor() -> None:
    assert parse_until("now") == "now"
    assert parse_until("ab12-7") == Cursor("ab12", 7)
    for text in ("", "latest", "-5", "a-01", "2026-01-01T00:00:00Z"):
        with pytest.raises(InvalidArgument, match=r"^until must be 'now' or a cursor, <epoch>-<offset>$") as caught:
            parse_until(text)
        assert caught.value.field == "until"


@given(st.text("abz019", min_size=1, max_size=32), st.integers(0, 2**64 - 1))
def test_a_cursor_reads_back(epoch: str, offset: int) -> None:
    cursor = Cursor(epoch, offset)
    assert parse_cursor(str(cursor)) == cursor
