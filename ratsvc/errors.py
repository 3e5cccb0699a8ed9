"""Every error that a user can meet, each with its gRPC status, HTTP status and problem type.

Errors are raised where they are found and turned into a reply once, at the edge. `detail` is a sentence
for people; `field` names the input that was wrong; neither ever holds a path, a class name or a stack.
"""

from __future__ import annotations

from typing import ClassVar, Self


class RatError(Exception):
    """The root. `grpc_code` is a `google.rpc.Code` number (google/rpc/code.proto)."""

    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    grpc_code: ClassVar[int] = 13
    http_status: ClassVar[int] = 500

    def __init__(self, detail: str, *, field: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s

    def again(self) -> Self:
        """The same error, for someone else to raise: a traceback belongs to one."""
        return type(self)(self.detail, field=self.field, retry_after_s=self.retry_after_s)


class InvalidArgument(RatError):
    """The request is wrong whatever the state of the service."""

    slug, title, grpc_code, http_status = "invalid-argument", "Invalid argument", 3, 400


class InvalidValue(InvalidArgument, ValueError):
    """A value that breaks the value model: not decodable, too deep, out of range."""

    slug, title = "invalid-value", "Invalid value"


class InvalidCursor(InvalidArgument):
    """A position that is not of the form `<epoch>-<offset>`."""

    slug, title = "invalid-cursor", "Invalid cursor"


class UnknownParameter(InvalidArgument):
    """A query parameter that this route does not take."""

    slug, title = "unknown-parameter", "Unknown parameter"


class TooLarge(RatError):
    """Over a limit of size or count."""

    slug, title, grpc_code, http_status = "too-large", "Too large", 8, 413


class Busy(RatError):
    """No room now: try again after `retry_after_s`."""

    slug, title, grpc_code, http_status = "busy", "Too much at once", 8, 429


class Unavailable(RatError):
    """The service is starting, draining or broken."""

    slug, title, grpc_code, http_status = "unavailable", "Unavailable", 14, 503


class StreamNotFound(RatError):
    """No such stream."""

    slug, title, grpc_code, http_status = "stream-not-found", "Stream not found", 5, 404


class StreamExists(RatError):
    """A stream of that name exists with other settings."""

    slug, title, grpc_code, http_status = "stream-exists", "Stream exists", 6, 409


class StreamEnded(RatError):
    """The stream was ended and takes no more records."""

    slug, title, grpc_code, http_status = "stream-ended", "Stream ended", 9, 409


class OutOfSequence(RatError):
    """A producer's sequence number jumps: records before it are missing."""

    slug, title, grpc_code, http_status = "out-of-sequence", "Out of sequence", 9, 409


class ProducerFenced(RatError):
    """A newer incarnation of the producer has taken over."""

    slug, title, grpc_code, http_status = "producer-fenced", "Producer fenced", 10, 409


class DigestMismatch(RatError):
    """The bytes that arrived are not those that were sent."""

    slug, title, grpc_code, http_status = "digest-mismatch", "Digest mismatch", 15, 422


class UploadNotFound(RatError):
    """No such upload: it has not begun, or was forgotten."""

    slug, title, grpc_code, http_status = "upload-not-found", "Upload not found", 5, 404


class UploadLost(RatError):
    """Records of the upload are no longer kept, so it cannot go on."""

    slug, title, grpc_code, http_status = "upload-lost", "Upload lost", 9, 409


class Unsupported(RatError):
    """The engine cannot do what was asked."""

    slug, title, grpc_code, http_status = "unsupported", "Unsupported", 9, 422


class DiskFull(RatError):
    """The disk has no room for more records; reading goes on."""

    slug, title, grpc_code, http_status = "disk-full", "Disk full", 8, 507


class LogRefused(RatError):
    """The log on disk cannot be opened or read: it is damaged, in use, newer, or no log at all."""

    slug, title, grpc_code, http_status = "log-refused", "Log refused", 15, 500


class NotAcceptable(InvalidArgument):
    """No format satisfies the request's Accept."""

    slug, title, http_status = "not-acceptable", "Not acceptable", 406


class UnsupportedMediaType(InvalidArgument):
    """The body's media type or encoding is not taken."""

    slug, title, http_status = "unsupported-media-type", "Unsupported media type", 415


class RequestTimeout(RatError):
    """The body came too slowly."""

    slug, title, grpc_code, http_status = "request-timeout", "Request timeout", 4, 408


class SettingsError(RatError):
    """A setting that is unknown, malformed or contradicts another."""

    slug, title = "settings", "Wrong setting"
