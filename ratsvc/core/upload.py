"""Uploads as records: what the headers of a file's records say, and what is known of an upload from them.

Each record says which upload it is of, the number of the chunk, and where in the file it begins; the first says also
what was announced, all others the offset of the first. After the last chunk comes an empty record with the size and
the SHA-256: an upload is complete when it is in the log.
Headers in a log may be anybody's: what is read of them is checked, and never trusted to be there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ratsvc.errors import DigestMismatch

UPLOAD, CHUNK, POSITION, FIRST = "upload", "chunk", "position", "first"
NAME, CONTENT_TYPE, SIZE, SHA256 = "name", "content-type", "size", "sha-256"


@dataclass(slots=True, frozen=True)
class Announced:
    """What is to come in an upload."""

    stream: str
    id: str = ""
    """Empty: it cannot go on after a break."""
    epoch: int | None = None
    """The upload's incarnation; None: the one that there is."""
    position: int = 0
    """Where in the file this call goes on."""
    name: str = ""
    content_type: str = ""
    size: int = 0
    """Of the whole file; 0 when it is not known."""
    key: str = ""
    event: str = ""
    end_stream: bool = False
    stored: bytes = b""
    """The SHA-256 of what comes before `position`; b"" when it is not told."""


@dataclass(slots=True)
class Standing:
    """Where an upload stands: what of it there is."""

    id: str
    epoch: int
    announced: int = 0
    """The size that was announced; 0 for none."""
    name: str = ""
    """The name that was announced; "" for none."""
    records: int = 0
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    first: int = 0
    """The offset of the first record."""
    last: int = 0
    complete: bool = False

    def copy(self) -> Standing:
        """One of its own."""
        return replace(self, digest=self.digest.copy())

    def check_is_of(self, announced: Announced) -> None:
        """Raises DigestMismatch when what goes on is another file than the one that began."""
        if announced.stored and announced.stored != self.digest.digest():
            raise DigestMismatch(
                f"the first {self.size} bytes of this file are not those stored of upload {self.id}",
                field="stored_sha256",
            )
        if announced.size and self.announced and announced.size != self.announced:
            raise DigestMismatch(
                f"upload {self.id} began with a file of {self.announced} bytes, and this one has {announced.size}",
                field="size",
            )
        if not announced.stored and announced.name and self.name and announced.name != self.name:
            raise DigestMismatch(
                f"upload {self.id} began with a file named {self.name!r}, and this one is {announced.name!r}: if it is"
                " the same, say so with stored_sha256",
                field="name",
            )

    def headers(self, announced: Announced, *, last: bool = False) -> dict[str, str]:
        """Those of the record that comes next.

        Args:
            last: it is the one after the last chunk.
        """
        headers = {UPLOAD: self.id, CHUNK: str(self.records + 1), POSITION: str(self.size)}
        if self.records:
            headers[FIRST] = str(self.first)
        else:
            about = {NAME: announced.name, CONTENT_TYPE: announced.content_type, SIZE: str(announced.size or "")}
            headers |= {name: text for name, text in about.items() if text}
        if last:
            headers |= {SIZE: str(self.size), SHA256: self.digest.hexdigest()}
        return headers

    def add(self, chunk: bytes | memoryview, headers: Mapping[str, str]) -> None:
        """Notes the next record."""
        if not self.records:
            self.announced, self.name = number(headers.get(SIZE, "")), headers.get(NAME, "")
        self.digest.update(chunk)
        self.size += len(chunk)
        self.records += 1
        self.complete = SHA256 in headers


def number(text: str) -> int:
    """A number in a header; 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
