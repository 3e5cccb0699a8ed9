import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rat.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GapReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GAP_REASON_UNSPECIFIED: _ClassVar[GapReason]
    GAP_REASON_RETENTION: _ClassVar[GapReason]
    GAP_REASON_EPOCH: _ClassVar[GapReason]
    GAP_REASON_SLOW: _ClassVar[GapReason]
    GAP_REASON_PURGED: _ClassVar[GapReason]
    GAP_REASON_CORRUPT: _ClassVar[GapReason]
GAP_REASON_UNSPECIFIED: GapReason
GAP_REASON_RETENTION: GapReason
GAP_REASON_EPOCH: GapReason
GAP_REASON_SLOW: GapReason
GAP_REASON_PURGED: GapReason
GAP_REASON_CORRUPT: GapReason

class Record(_message.Message):
    __slots__ = ("value", "key", "event", "headers")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    value: _value_pb2.DataValue
    key: str
    event: str
    headers: _containers.ScalarMap[str, str]
    def __init__(self, value: _Optional[_Union[_value_pb2.DataValue, _Mapping]] = ..., key: _Optional[str] = ..., event: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ...) -> None: ...

class RecordBatch(_message.Message):
    __slots__ = ("stream", "records", "first_offset", "time", "offsets", "snapshot")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    stream: str
    records: _containers.RepeatedCompositeFieldContainer[Record]
    first_offset: int
    time: _timestamp_pb2.Timestamp
    offsets: _containers.RepeatedScalarFieldContainer[int]
    snapshot: int
    def __init__(self, stream: _Optional[str] = ..., records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., first_offset: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., offsets: _Optional[_Iterable[int]] = ..., snapshot: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("start", "batch", "gap", "end", "heartbeat", "reconnect", "patch")
    START_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    start: Start
    batch: RecordBatch
    gap: Gap
    end: End
    heartbeat: Heartbeat
    reconnect: Reconnect
    patch: Patch
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., batch: _Optional[_Union[RecordBatch, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., reconnect: _Optional[_Union[Reconnect, _Mapping]] = ..., patch: _Optional[_Union[Patch, _Mapping]] = ...) -> None: ...

class Patch(_message.Message):
    __slots__ = ("stream", "offset", "time", "key", "event", "headers", "operations")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    offset: int
    time: _timestamp_pb2.Timestamp
    key: str
    event: str
    headers: _containers.ScalarMap[str, str]
    operations: _containers.RepeatedCompositeFieldContainer[PatchOperation]
    def __init__(self, stream: _Optional[str] = ..., offset: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key: _Optional[str] = ..., event: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., operations: _Optional[_Iterable[_Union[PatchOperation, _Mapping]]] = ...) -> None: ...

class PatchOperation(_message.Message):
    __slots__ = ("op", "path", "value")
    OP_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    op: str
    path: str
    value: _value_pb2.DataValue
    def __init__(self, op: _Optional[str] = ..., path: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.DataValue, _Mapping]] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("cursor", "epoch")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    epoch: str
    def __init__(self, cursor: _Optional[str] = ..., epoch: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("to", "reason", "skipped")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    to: str
    reason: GapReason
    skipped: int
    def __init__(self, to: _Optional[str] = ..., reason: _Optional[_Union[GapReason, str]] = ..., skipped: _Optional[int] = ..., **kwargs) -> None: ...

class End(_message.Message):
    __slots__ = ("cursor", "reason")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    reason: str
    def __init__(self, cursor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("cursor",)
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    def __init__(self, cursor: _Optional[str] = ...) -> None: ...

class Reconnect(_message.Message):
    __slots__ = ("cursor", "retry_ms", "reason")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    retry_ms: int
    reason: str
    def __init__(self, cursor: _Optional[str] = ..., retry_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
