"""What the headers of an upload's records say is what is read of them again."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from ratsvc.core.upload import Announced, Standing, number


@given(st.lists(st.binary(min_size=1), max_size=6), st.integers(0, 2**63 - 1))
def test_an_upload_is_known_again_from_its_records(chunks: list[bytes], announced_size: int) -> None:
    announced = Announced("s", "u", name="n", content_type="a/b", size=announced_size)
    sent, found, position = Standing("u", 3), Standing("u", 3), 0
    for offset, chunk in enumerate([*chunks, b""], 10):
        last = offset == 10 + len(chunks)
        headers = sent.headers(announced, last=last)
        assert (headers["chunk"], headers["position"]) == (str(offset - 9), str(position))
        assert ("name" in headers, "first" in headers) == (offset == 10, offset > 10)
        for one in (sent, found):
            one.add(chunk, headers)
            one.first, one.last = one.first or offset, offset
        position += len(chunk)
        assert found.complete == last
    whole = hashlib.sha256(b"".join(chunks))
    assert (headers["size"], headers["sha-256"]) == (str(position), whole.hexdigest())
    for one in (found, found.copy()):
        assert (one.size, one.records, one.announced) == (sent.size, sent.records, sent.announced)
        assert one.digest.digest() == whole.digest()
    copied = found.copy()
    copied.digest.update(b"more")
    assert found.digest.digest() == whole.digest()


def test_a_header_that_is_no_number_is_nought() -> None:
    assert [number(text) for text in ("", "x", "-1", "1.5", "٣", "²", "9" * 21, "007")] == [0, 0, 0, 0, 0, 0, 0, 7]
