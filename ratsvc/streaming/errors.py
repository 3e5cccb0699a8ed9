"""What a send raises when it is misused; that a client has gone is no error but False."""

from __future__ import annotations

from ratsvc.errors import Busy, InvalidArgument


class StreamTypeError(InvalidArgument, TypeError):
    """A call that does not fit the type of the stream. Nothing was queued."""

    slug, title = "stream-type", "Wrong stream type"


class StreamFullError(Busy):
    """More waits for the client than the stream's bounds let wait. Nothing was queued: send again later."""

    slug, title = "stream-full", "Stream full"
