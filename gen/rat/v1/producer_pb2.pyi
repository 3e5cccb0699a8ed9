from google.rpc import status_pb2 as _status_pb2
from rat.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_COMMITTED: _ClassVar[Durability]
    DURABILITY_FLUSHED: _ClassVar[Durability]
DURABILITY_UNSPECIFIED: Durability
DURABILITY_COMMITTED: Durability
DURABILITY_FLUSHED: Durability

class PublishRequest(_message.Message):
    __slots__ = ("stream", "records", "producer", "durability")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    stream: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    producer: ProducerRef
    durability: Durability
    def __init__(self, stream: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ..., producer: _Optional[_Union[ProducerRef, _Mapping]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class ProducerRef(_message.Message):
    __slots__ = ("id", "epoch", "sequence")
    ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    epoch: int
    sequence: int
    def __init__(self, id: _Optional[str] = ..., epoch: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("first_offset", "last_offset", "stored", "duplicates", "epoch")
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    first_offset: int
    last_offset: int
    stored: int
    duplicates: int
    epoch: str
    def __init__(self, first_offset: _Optional[int] = ..., last_offset: _Optional[int] = ..., stored: _Optional[int] = ..., duplicates: _Optional[int] = ..., epoch: _Optional[str] = ...) -> None: ...

class PublishStreamResponse(_message.Message):
    __slots__ = ("request", "ack", "error")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request: int
    ack: PublishResponse
    error: _status_pb2.Status
    def __init__(self, request: _Optional[int] = ..., ack: _Optional[_Union[PublishResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("start", "chunk", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: UploadStart
    chunk: bytes
    end: UploadEnd
    def __init__(self, start: _Optional[_Union[UploadStart, _Mapping]] = ..., chunk: _Optional[bytes] = ..., end: _Optional[_Union[UploadEnd, _Mapping]] = ...) -> None: ...

class UploadStart(_message.Message):
    __slots__ = ("stream", "name", "size", "content_type", "end_stream", "upload_id", "upload_epoch", "position", "key", "event", "stored_sha256")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    END_STREAM_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_EPOCH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    STORED_SHA256_FIELD_NUMBER: _ClassVar[int]
    stream: str
    name: str
    size: int
    content_type: str
    end_stream: bool
    upload_id: str
    upload_epoch: int
    position: int
    key: str
    event: str
    stored_sha256: bytes
    def __init__(self, stream: _Optional[str] = ..., name: _Optional[str] = ..., size: _Optional[int] = ..., content_type: _Optional[str] = ..., end_stream: _Optional[bool] = ..., upload_id: _Optional[str] = ..., upload_epoch: _Optional[int] = ..., position: _Optional[int] = ..., key: _Optional[str] = ..., event: _Optional[str] = ..., stored_sha256: _Optional[bytes] = ...) -> None: ...

class UploadEnd(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    def __init__(self, sha256: _Optional[bytes] = ...) -> None: ...

class UploadResponse(_message.Message):
    __slots__ = ("size", "sha256", "first_offset", "last_offset", "records", "epoch", "evicted")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    size: int
    sha256: bytes
    first_offset: int
    last_offset: int
    records: int
    epoch: str
    evicted: bool
    def __init__(self, size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., first_offset: _Optional[int] = ..., last_offset: _Optional[int] = ..., records: _Optional[int] = ..., epoch: _Optional[str] = ..., evicted: _Optional[bool] = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("stream", "upload_id")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    stream: str
    upload_id: str
    def __init__(self, stream: _Optional[str] = ..., upload_id: _Optional[str] = ...) -> None: ...

class GetUploadResponse(_message.Message):
    __slots__ = ("upload_epoch", "size", "sha256", "complete", "records", "first_offset", "last_offset", "epoch")
    UPLOAD_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    upload_epoch: int
    size: int
    sha256: bytes
    complete: bool
    records: int
    first_offset: int
    last_offset: int
    epoch: str
    def __init__(self, upload_epoch: _Optional[int] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., complete: _Optional[bool] = ..., records: _Optional[int] = ..., first_offset: _Optional[int] = ..., last_offset: _Optional[int] = ..., epoch: _Optional[str] = ...) -> None: ...
