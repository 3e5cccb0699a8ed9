"""The settings: one typed tree. Defaults < file (TOML) < environment (RATSVC_…) < flags.

Every limit of the service is here, with its unit in its name. An unknown setting is an error that names the
nearest known one. Nested settings have `__` in the environment: `RATSVC_LIMITS__VALUE_BYTES=2097152`.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ratsvc.core.retention import Retention
from ratsvc.errors import RatError, SettingsError
from ratsvc.names import check_pattern

MIB = 1024 * 1024
ENV_PREFIX = "RATSVC_"
CLOSING_S = 5.0

Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1024)]
Host = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:[0-9]{1,5})?$")]
Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?)$")]
Seconds = Annotated[float, Field(gt=0, le=86400 * 365)]


_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}\Z")


def _is_token(token: SecretStr) -> SecretStr:
    if not _TOKEN.match(token.get_secret_value()):
        raise ValueError("must be 16 to 512 of A-Z a-z 0-9 . _ ~ + / = - (RFC 6750)")
    return token


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamDefaults(_Part):
    """What is kept of a stream, for the streams that a pattern covers."""

    max_records: Annotated[int, Field(ge=0)] = 0
    """How many records; 0: the next more general setting."""
    max_bytes: Annotated[int, Field(ge=0)] = 0
    """How many bytes of records; 0: the next more general setting."""
    max_age: Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d+(\.\d+)?(ms|s|m|h|d)$")] = 0.0
    """How old a record may be, in seconds or as `90s`, `15m`, `24h`, `7d`; 0: the next more general setting."""

    def retention(self) -> Retention:
        """These as a policy."""
        return Retention(self.max_records, self.max_bytes, seconds(self.max_age))


class Limits(_Part):
    """The bounds. Over one, the answer is an error that names it."""

    value_bytes: Bytes = MIB
    """One record, serialised."""
    request_bytes: Bytes = 4 * MIB
    """One gRPC request, or an HTTP publish body in one piece."""
    batch_records: Count = 10_000
    """Records in one request."""
    streams: Count = 100_000
    """Streams in all."""
    streams_per_subscription: Count = 128
    """Names and patterns in one subscription."""
    subscriptions: Count = 10_000
    """Readers at once."""
    connections: Count = 10_000
    """HTTP connections at once."""
    connections_per_address: Count = 2_000
    """HTTP connections at once from one address. Behind a proxy all readers have the proxy's address."""
    queue_bytes: Bytes = 64 * MIB
    """Waiting for the commit: beyond it producers are paused."""
    queue_records: Count = 100_000
    """Waiting for the commit: beyond it producers are paused."""
    log_bytes: Bytes = 1024 * MIB
    """The whole log."""
    tail_bytes: Bytes = 16 * MIB
    """The newest records with their encodings, shared by all readers."""
    history_bytes: Annotated[int, Field(ge=0)] = 32 * MIB
    """Records read lately from the log, with their encodings, shared by readers who catch up at about the same place;
    0: each reads and encodes for itself."""
    snapshot_keys: Count = 100_000
    """Keys, with their event types, of the streams that are read with `snapshot=key`: where the newest record of each
    is, is remembered, about 200 bytes a key. Over it such a read is refused."""
    delta_bytes: Bytes = 32 * MIB
    """Documents, as they were published, and patches remembered for readers with `delta=json-patch`, for all of them
    together. What has no room is sent whole."""
    reader_bytes: Bytes = 256 * 1024
    """Waiting to be written to one reader: beyond it the reader reads on from the log at its own pace."""
    producers: Count = 10_000
    """Idempotent producers remembered."""
    idempotency_keys: Count = 10_000
    """Idempotency keys of HTTP requests and ids of uploads remembered: the newest."""
    uploads: Count = 1_000
    """Uploads whose place is at hand: the newest. That of any other is found again by reading what is stored of it."""
    producer_idle_s: Seconds = 7 * 86400.0
    """How long a producer, an idempotency key or the id of an upload is remembered after its last record."""
    unacknowledged_requests: Count = 1_024
    """Requests of one PublishStream that wait for their commit: beyond it the service stops reading it."""
    unacknowledged_bytes: Bytes = 8 * MIB
    """The same in bytes."""
    header_bytes: Bytes = 16 * 1024
    """An HTTP request's headers."""
    header_count: Count = 100
    """An HTTP request's headers."""
    uri_bytes: Count = 8 * 1024
    """An HTTP request's target."""
    body_timeout_s: Seconds = 30.0
    """The longest pause inside an HTTP body, and the longest wait for a unary gRPC request."""
    body_bytes_per_s: Annotated[int, Field(ge=0)] = 1024
    """How fast an HTTP body must come, on average once it took `body_timeout_s`; 0: at any rate. One that comes in
    chunks and is stored as it comes may be slow by nature: only its pauses are bounded."""
    calls_per_connection: Count = 100
    """gRPC calls at once on one connection."""


class Disk(_Part):
    """With `data_dir`: how much of the disk the log may take (looked at twice a second), and the look at it at a
    start."""

    log_bytes: Annotated[int, Field(ge=0)] = 0
    """Records in all; over it the oldest go. 0: as the disk has room."""
    reserve_bytes: Annotated[int, Field(ge=0)] = 256 * MIB
    """So much of the disk is left free: with less, no records are taken."""
    trim_percent: Annotated[float, Field(gt=0, le=100)] = 90.0
    """Of the disk in use: from there on, the oldest records go as new ones come."""
    full_percent: Annotated[float, Field(gt=0, le=100)] = 95.0
    """Of the disk in use: from there on, no records are taken."""
    survey_s: Annotated[float, Field(ge=0, le=600)] = 1.0
    """How long, at most, a start looks through the database for damage that would end the process later; 0: not at
    all."""


class Compression(_Part):
    """gzip, for those who ask for it by `Accept-Encoding`; what is no stream also comes as zstd, and the pages' files
    as br. Streams in `chunked` are never compressed."""

    enabled: bool = True
    """Whether there is any."""
    level: Annotated[int, Field(ge=1, le=9)] = 6
    """zlib's, from the fastest to the smallest. 256 KiB or more at once of a stream are compressed with 1."""
    min_bytes: Count = 1024
    """Responses that are no streams are compressed from this size on."""
    windows: Annotated[int, Field(ge=0)] = 1_000
    """Lanes (readers of the same streams in the same format) that may have a window at once, of 70 KiB each: in the
    others single small records are sent as large as they are."""
    kept_bytes: Annotated[int, Field(ge=0)] = 4 * MIB
    """Compressed bytes, with what they were made of, that are kept for other readers who catch up."""
    cpu_percent: Annotated[float, Field(gt=0, le=100)] = 50.0
    """Of one core, over two seconds: so much time compression may take, for all readers together. Beyond it new readers
    get plain bytes, and those who are there get theirs as they are, inside their gzip; 100: no bound."""


class TracingSettings(_Part):
    """Traces, as OpenTelemetry has them, sent by OTLP over gRPC. The exporter's environment variables
    (OTEL_EXPORTER_OTLP_…: TLS, headers, compression) hold beside these."""

    enabled: bool = False
    """Whether publishes are traced. Needs the packages of `ratsvc[otel]`."""
    endpoint: Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9._~:\[\]-]+(/.*)?)?$")] = ""
    """The collector, `http://host:4317` (or `https://…`: with TLS); empty: OTEL_EXPORTER_OTLP_ENDPOINT, or
    `http://localhost:4317`."""
    service_name: Annotated[str, Field(max_length=255)] = ""
    """How the service is named in traces; empty: OTEL_SERVICE_NAME, or `ratsvc`."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Of the publishes that come without a trace, how many are traced. One that comes with a trace is traced when its
    sender samples it."""
    max_spans_per_s: Count = 500
    """Spans made in a second, whatever clients ask for; 16 links count as one more."""
    queue_spans: Count = 2_048
    """Spans that wait to be sent: more are dropped."""
    batch_spans: Count = 512
    """Spans sent at once."""
    export_interval_s: Annotated[float, Field(ge=0.05, le=3600)] = 5.0
    """How long a span waits at most for others to be sent with."""


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    http: str = "127.0.0.1:8080"
    """Where HTTP listens: `host:port`; port 0 lets the system choose."""
    grpc: str = "127.0.0.1:50051"
    """Where gRPC listens: `host:port`; port 0 lets the system choose."""
    data_dir: Path | None = None
    """Where records are kept on disk; without it they are kept in memory."""
    durability: Literal["always", "interval"] = "always"
    """With `data_dir`: whether each commit is on disk before it is acknowledged (always), or soon after (interval):
    then a power loss, but no crash of the process, may take what was acknowledged in the last `flush_interval_s`."""
    flush_interval_s: Annotated[float, Field(ge=1, le=3600)] = 1.0
    """With durability `interval`: how soon after."""
    allowed_hosts: list[Host] = []
    """The hosts, with or without a port, that HTTP requests may name; empty: any. `/healthz`, `/readyz` and `/metrics`
    answer to any name."""
    cors_origins: list[Origin] = []
    """The origins (`https://app.example.com`) whose pages may read and publish from a browser; `*`: all. No cookies or
    other credentials of the browser are taken."""
    heartbeat_s: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """The longest silence on a subscription, unless its reader asks for another."""
    stall_timeout_s: Seconds = 10.0
    """A reader that takes nothing for so long is cut, and a gRPC producer that takes none of its answers; it can come
    back."""
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 15.0
    """Over how long readers are told to reconnect when the service stops."""
    restart_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """How long, after that, until a process answers again. Readers who are told to go then stay away until it does,
    and come back spread over another `drain_s`: a proxy's 502 ends a browser's EventSource for good. 0: they come
    back after `retry_ms`, because another process answers meanwhile, or there is no proxy."""
    stop_timeout_s: Seconds = 25.0
    """When a stop is forced."""
    subscription_lifetime_s: Annotated[float, Field(ge=0)] = 0.0
    """After so long (give or take 10 %) a reader is asked to reconnect; 0: never."""
    retry_ms: Annotated[int, Field(ge=100, le=60_000)] = 2_000
    """How long readers wait before they come back, unless told otherwise."""
    create_on_publish: bool = True
    """Whether the first publish makes a stream."""
    metrics_top_streams: Annotated[int, Field(ge=0, le=1000)] = 0
    """For how many streams, those with the most bytes, `/metrics` has figures with their names; 0: for none."""
    show_connections: bool | None = None
    """Whether `/v1/connections` and the dashboard tell who is connected: addresses, user agents, streams. Unset: where
    HTTP listens on a loopback address, and nowhere else."""
    log_format: Literal["pretty", "json"] = "pretty"
    """How the service's own log lines look."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Which of them are written."""
    debug_token: Annotated[SecretStr, AfterValidator(_is_token)] | None = None
    """Whoever sends it (`Authorization: Bearer …`) may use `/debug/`: 16 to 512 of `A-Z a-z 0-9 . _ ~ + / = -`.
    Without it there is no `/debug/`."""
    limits: Limits = Limits()
    disk: Disk = Disk()
    compression: Compression = Compression()
    tracing: TracingSettings = TracingSettings()
    retention: StreamDefaults = StreamDefaults()
    """What is kept of every stream; 0: 1,000,000 records, 64 MiB in memory or 1 GiB on disk, 24 hours."""
    streams: dict[str, StreamDefaults] = {}
    """What is kept of the streams that a pattern covers: the most specific pattern wins."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for pattern in self.streams:
            try:
                check_pattern(pattern, f"streams.{pattern}")
            except RatError as error:
                raise ValueError(error.detail) from None
        if self.limits.value_bytes > self.limits.request_bytes:
            raise ValueError("limits.value_bytes must not be over limits.request_bytes")
        if self.drain_s > self.drain_timeout_s:
            raise ValueError(f"drain_s must end {CLOSING_S:g} s before stop_timeout_s")
        return self

    @property
    def drain_timeout_s(self) -> float:
        """When readers who did not go in a drain are cut: the rest of `stop_timeout_s` is for closing."""
        return max(1.0, self.stop_timeout_s - CLOSING_S)

    @property
    def connections_are_shown(self) -> bool:
        """Whether the service tells who is connected."""
        if self.show_connections is not None:
            return self.show_connections
        host = self.http.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def general_retention(self) -> Retention:
        """What is kept of a stream for which no pattern says anything."""
        size = 1024 * MIB if self.data_dir else 64 * MIB
        return self.retention.retention().over(Retention(1_000_000, size, 86400.0))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _File(settings_cls))


class _File(PydanticBaseSettingsSource):
    """The TOML file that `load` was given: the lowest source."""

    path: Path | None = None

    def get_field_value(self, field: object, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        if _File.path is None:
            return {}
        try:
            return tomllib.loads(_File.path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"cannot read the settings file {_File.path}: {reason}") from None


def load(file: Path | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """The settings from all sources.

    Args:
        file: a TOML file, or None.
        flags: settings given on the command line; those that are None were not given.

    Raises:
        SettingsError: a setting is unknown (names the nearest known one), malformed, or contradicts another.
    """
    _refuse_unknown_environment()
    _File.path = file
    try:
        return Settings(**{k: v for k, v in (flags or {}).items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_explained(dict(one)) for one in error.errors())) from None
    finally:
        _File.path = None


def seconds(span: float | str) -> float:
    """Seconds of a span: a number of them, or `250ms`, `90s`, `15m`, `24h`, `7d`."""
    if not isinstance(span, str):
        return span
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)):
        if span.endswith(unit):
            return float(span.removesuffix(unit)) * factor
    raise ValueError(f"not a span: {span!r}")


def names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """The dotted names of all settings."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, _Part):
            found += names(kind, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _explained(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, names(), 1, 0.4)
        return f"unknown setting {where!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _refuse_unknown_environment() -> None:
    known = {ENV_PREFIX + name.upper().replace(".", "__") for name in names()}
    known |= {ENV_PREFIX + group for group in ("COMPRESSION", "DISK", "LIMITS", "RETENTION", "CONFIG")}
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1, 0.4)
            raise SettingsError(
                f"unknown setting {variable} in the environment" + (f"; did you mean {near[0]}?" if near else "")
            )
