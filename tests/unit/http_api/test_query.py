"""Query strings are read strictly."""

from __future__ import annotations

import contextlib
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratsvc.errors import InvalidArgument, UnknownParameter
from ratsvc.http_api.query import MAX_PARAMETERS, Query

KNOWN = ("format", "limit", "key", "heartbeat", "must_exist")


def query(text: str) -> Query:
    return Query(text.encode(), KNOWN, ("key",))


@given(st.dictionaries(st.sampled_from(KNOWN), st.text(alphabet=st.characters(exclude_categories=["Cs"]))))
def test_what_was_encoded_is_read_back(values: dict[str, str]) -> None:
    found = query(urlencode(values))
    assert {name: found.one(name) for name in KNOWN} == {name: values.get(name) for name in KNOWN}


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        Query(data, KNOWN, ("key",))


def test_an_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(UnknownParameter, match="did you mean 'format'"):
        query("fromat=sse")
    with pytest.raises(UnknownParameter, match="takes format, heartbeat"):
        query("zzz=1")


def test_what_libraries_add_is_let_pass() -> None:
    assert query("_=123&lastEventId=1&_=4&limit=2").integer("limit", 1, 9) == 2


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("limit=1&limit=2", "limit"),
        ("limit=%ZZ", "limit"),
        ("limit=%ff", "limit"),
        ("%ff=1", "query"),
        ("&".join(["key=a"] * (MAX_PARAMETERS + 1)), "query"),
        ("key%5b%5d=a", "key[]"),
    ],
)
def test_what_is_wrong_is_named(text: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        query(text)
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["0", "11", "1e3", " 1", "1.5", "٣", "", "nan", "9" * 30])
def test_an_integer_is_decimal_and_within_bounds(text: str) -> None:
    with pytest.raises(InvalidArgument, match="limit must be a whole number from 1 to 10"):
        query(urlencode({"limit": text})).integer("limit", 1, 10)


@pytest.mark.parametrize("text", ["0", "3601", "inf", "nan", "1e3", "-1", ""])
def test_a_number_is_decimal_and_within_bounds(text: str) -> None:
    with pytest.raises(InvalidArgument, match="heartbeat must be a number from 1 to 3600"):
        query(urlencode({"heartbeat": text})).number("heartbeat", 1, 3600)


def test_a_flag_is_one_of_four_words() -> None:
    assert query("must_exist=1").flag("must_exist")
    assert not query("must_exist=false").flag("must_exist")
    with pytest.raises(InvalidArgument, match="one of 1, true, 0, false"):
        query("must_exist=yes").flag("must_exist")
