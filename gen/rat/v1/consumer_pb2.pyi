import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from rat.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Delta(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELTA_UNSPECIFIED: _ClassVar[Delta]
    DELTA_NONE: _ClassVar[Delta]
    DELTA_JSON_PATCH: _ClassVar[Delta]

class Overflow(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERFLOW_UNSPECIFIED: _ClassVar[Overflow]
    OVERFLOW_CATCH_UP: _ClassVar[Overflow]
    OVERFLOW_LATEST: _ClassVar[Overflow]
    OVERFLOW_DISCONNECT: _ClassVar[Overflow]
DELTA_UNSPECIFIED: Delta
DELTA_NONE: Delta
DELTA_JSON_PATCH: Delta
OVERFLOW_UNSPECIFIED: Overflow
OVERFLOW_CATCH_UP: Overflow
OVERFLOW_LATEST: Overflow
OVERFLOW_DISCONNECT: Overflow

class SubscribeRequest(_message.Message):
    __slots__ = ("streams", "until", "limit", "keys", "events", "overflow", "heartbeat", "must_exist", "snapshot", "delta")
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    MUST_EXIST_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    streams: _containers.RepeatedScalarFieldContainer[str]
    until: str
    limit: int
    keys: _containers.RepeatedScalarFieldContainer[str]
    events: _containers.RepeatedScalarFieldContainer[str]
    overflow: Overflow
    heartbeat: _duration_pb2.Duration
    must_exist: bool
    snapshot: bool
    delta: Delta
    def __init__(self, streams: _Optional[_Iterable[str]] = ..., until: _Optional[str] = ..., limit: _Optional[int] = ..., keys: _Optional[_Iterable[str]] = ..., events: _Optional[_Iterable[str]] = ..., overflow: _Optional[_Union[Overflow, str]] = ..., heartbeat: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., must_exist: _Optional[bool] = ..., snapshot: _Optional[bool] = ..., delta: _Optional[_Union[Delta, str]] = ..., **kwargs) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("streams", "limit", "wait", "keys", "events", "snapshot", "until")
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    streams: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    wait: _duration_pb2.Duration
    keys: _containers.RepeatedScalarFieldContainer[str]
    events: _containers.RepeatedScalarFieldContainer[str]
    snapshot: bool
    until: str
    def __init__(self, streams: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., keys: _Optional[_Iterable[str]] = ..., events: _Optional[_Iterable[str]] = ..., snapshot: _Optional[bool] = ..., until: _Optional[str] = ..., **kwargs) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("batches", "gaps", "next", "ended")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[_record_pb2.RecordBatch]
    gaps: _containers.RepeatedCompositeFieldContainer[_record_pb2.Gap]
    next: str
    ended: bool
    def __init__(self, batches: _Optional[_Iterable[_Union[_record_pb2.RecordBatch, _Mapping]]] = ..., gaps: _Optional[_Iterable[_Union[_record_pb2.Gap, _Mapping]]] = ..., next: _Optional[str] = ..., ended: _Optional[bool] = ...) -> None: ...
