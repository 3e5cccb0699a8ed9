"""Values as JSON (RFC 8259): bytes are base64, times RFC 3339, NaN and the infinities null.

`from_json` gives what JSON can say, within the limits of values: numbers that are out of range (1e400, an
integer over 64 bits), lone surrogates and NaN are refused, and of a name that comes twice the last wins.
Cost for a map of four fields: 0.9 µs to write with all checks, 0.1 µs in `json_lines`, 0.4 µs to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ratsvc.errors import InvalidValue
from ratsvc.quickmem.limits import DEPTH, KEY_BYTES, SMALL, check, is_within, too_deep
from ratsvc.quickmem.packed import ShortKey, common_shape, encode_plain
from ratsvc.quickmem.plain import plain

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder().decode
_decode_short = msgspec.json.Decoder(common_shape(str)).decode
_decode_small = msgspec.json.Decoder(common_shape(ShortKey)).decode
#: Integers up to this are exact in every double.
_SAFE = 2**53
#: Integers beyond it have 16 digits, which are sought with all digits made the same: 0.07 µs for 90 bytes.
_UNSAFE_DIGITS = b"0" * 16
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")


def to_json(value: object, *, int64_as_string: bool = False) -> bytes:
    """Returns `value` as one JSON document; integers beyond ±2^53 as strings if so asked.

    Raises:
        InvalidValue: it breaks the value model: see `plain`.
        TypeError: it holds something that has no encoding.
    """
    checked = value if is_within(value) else plain(value)
    encode_plain(checked)  # Refuses what is out of range.
    return json_lines([checked], int64_as_string=int64_as_string)[:-1]


def json_lines(values: Sequence[object], *, int64_as_string: bool = False) -> bytes:
    """Returns the values, which a decoder of this package made, as JSON documents, each ended by a line feed."""
    data = _encoder.encode_lines(values)
    if int64_as_string and _UNSAFE_DIGITS in data.translate(_DIGITS_ALIKE):
        return _encoder.encode_lines([_unsafe_as_text(value) for value in values])
    return data


def from_json(data: bytes | memoryview) -> object:
    """Returns the value of one JSON document in UTF-8.

    Raises:
        InvalidValue: it is not one (the message says at which byte), or breaks the value model.
    """
    size = len(data)
    if size < SMALL:
        try:
            value = _decode_short(data) if size <= KEY_BYTES else _decode_small(data)
        except ValueError:
            value = _decode_exact(data)  # Not of the common shape: the exact check decides.
    else:
        value = _decode_exact(data)
    encode_plain(value)  # Refuses integers that are out of range.
    return value


def _decode_exact(data: bytes | memoryview) -> object:
    value = decode_any(data)
    check(value)
    return value


def decode_any(data: bytes | bytearray | memoryview, depth: int = DEPTH) -> object:
    """`from_json` without a look at what was decoded; `depth` is how deep it may be, for the error.

    Raises:
        InvalidValue: it is not one JSON document.
    """
    try:
        return _decode(data)
    except RecursionError:
        raise too_deep(depth) from None
    except UnicodeDecodeError:
        raise InvalidValue("value has text that is not UTF-8", field="value") from None
    except msgspec.MsgspecError as error:
        raise InvalidValue(f"value is not one JSON document: {error}", field="value") from None


def _unsafe_as_text(value: object) -> object:
    """A decoded value with the integers beyond ±2^53 as text."""
    if type(value) is int and not -_SAFE <= value <= _SAFE:
        return str(value)
    if isinstance(value, dict):
        return {key: _unsafe_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unsafe_as_text(item) for item in value]
    return value
