"""PublishRequest as the service reads it: the same bytes on the wire, with each record left serialised.

`repeated Record` and `repeated bytes` look the same on the wire (protobuf encoding guide), so a message type of our
own, with the fields of `rat.v1.PublishRequest`, gives the records as bytes without making an object for each.
Cost: 0.1 µs a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from rat.v1 import producer_pb2 as pb

from ratsvc.core.record import ProducerRef
from ratsvc.errors import InvalidArgument, InvalidValue
from ratsvc.names import check_producer_id

MAX_SEQUENCE = 2**63 - 1


def _message_class() -> Any:
    request = pb.PublishRequest.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(name="ratsvc/envelope.proto", package="ratsvc.envelope", syntax="proto3")
    file.dependency.append(request.file.name)
    message = file.message_type.add()
    request.CopyToProto(message)
    message.name = "Envelope"
    records = next(field for field in message.field if field.name == "records")
    records.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
    records.ClearField("type_name")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ratsvc.envelope.Envelope"))


_parse = _message_class().FromString


@dataclass(slots=True, frozen=True)
class Envelope:
    """A publish request: its records are serialised `rat.v1.Record` messages."""

    stream: str
    records: list[bytes]
    producer: ProducerRef | None
    durability: int


def parse(data: bytes) -> Envelope:
    """Reads a serialised `rat.v1.PublishRequest`.

    Raises:
        InvalidValue: it is not one.
        InvalidArgument: its producer breaks a rule.
    """
    try:
        message = _parse(data)
    except DecodeError:
        raise InvalidValue("malformed PublishRequest") from None
    ref = _producer(message.producer) if message.HasField("producer") else None
    return Envelope(message.stream, list(message.records), ref, message.durability)


def _producer(ref: pb.ProducerRef) -> ProducerRef:
    check_producer_id(ref.id)
    if not 1 <= ref.sequence <= MAX_SEQUENCE:
        raise InvalidArgument("producer.sequence must be 1 to 2^63-1", field="producer.sequence")
    return ProducerRef(ref.id, ref.epoch, ref.sequence)
