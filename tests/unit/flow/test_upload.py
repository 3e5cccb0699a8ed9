"""Whatever breaks off, whenever, and whoever goes on: a file is stored once, in order, with the digest of the whole."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratsvc.core.upload import Announced
from ratsvc.errors import OutOfSequence, ProducerFenced, UploadNotFound
from ratsvc.flow.broker import Broker
from ratsvc.flow.upload import Upload
from tests.conftest import stored, test_settings

DATA = bytes(range(256)) * 4


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(1, len(DATA) - 1), min_size=1, max_size=12, unique=True).map(sorted),
    breaks=st.sets(st.integers(0, 12)),
    forgets=st.booleans(),
    closes=st.booleans(),
)
def test_a_file_is_stored_once_and_in_order_whatever_breaks_off(
    cuts: list[int], breaks: set[int], forgets: bool, closes: bool
) -> None:
    chunks = [DATA[start:end] for start, end in pairwise([0, *cuts, len(DATA)])]

    async def go_on(broker: Broker, older: Upload | None) -> Upload:
        if older is not None and closes:
            older.__exit__(None, None, None)
        if forgets:
            broker.uploads._known.clear()
        try:
            standing = await broker.uploads.standing("s", "u")
        except UploadNotFound:
            return await broker.uploads.open(Announced("s", "u"))
        assert standing.digest.digest() == hashlib.sha256(DATA[: standing.size]).digest()
        upload = await broker.uploads.open(Announced("s", "u", position=standing.size))
        if older is not None and not closes:
            with pytest.raises(ProducerFenced):
                await older.store(b"late")
        return upload

    async def run() -> None:
        async with Broker(test_settings()) as broker:
            upload = await broker.uploads.open(Announced("s", "u"))
            for at, chunk in enumerate(chunks):
                await upload.store(chunk)
                if at in breaks:
                    upload = await go_on(broker, upload)
            standing = await upload.finish(hashlib.sha256(DATA).digest())
            assert (standing.size, standing.complete) == (len(DATA), True)
            assert await stored(broker, "s") == [*chunks, b""]
            for position in {0, len(DATA) - 1, len(DATA) + 1}:
                with pytest.raises(OutOfSequence):
                    await broker.uploads.open(Announced("s", "u", position=position))

    asyncio.run(run())
