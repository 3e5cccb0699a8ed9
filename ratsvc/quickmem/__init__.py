"""The value model in its encodings: Python values, MessagePack (packed), JSON, `rat.v1.DataValue` trees, records.

Any value of the model goes through any encoding and comes back itself, type included (JSON as far as JSON can
say it). Decoders take hostile input: they raise `InvalidValue` and nothing else. `wire` is the hot path of
the service; `codec` and `incremental` are for programs, with wider bounds; the other functions are for single values.
"""

from ratsvc.quickmem.codec import (
    GLOBAL_CONVERTER,
    Converter,
    QuickCodec,
    decode,
    decode_batch,
    encode,
    encode_batch,
    encode_to_bytes,
    encode_to_bytes_large_buffer,
    get_pool_stats,
)
from ratsvc.quickmem.incremental import IncrementalDecoder, IncrementalEncoder
from ratsvc.quickmem.jsontext import from_json, json_lines, to_json
from ratsvc.quickmem.limits import ValueLimits
from ratsvc.quickmem.packed import pack, unpack
from ratsvc.quickmem.pool import PoolStats
from ratsvc.quickmem.tree import from_data_value, to_data_value, to_tree
from ratsvc.quickmem.wire import Columns, parse_records, record, values

__all__ = [
    "GLOBAL_CONVERTER",
    "Columns",
    "Converter",
    "IncrementalDecoder",
    "IncrementalEncoder",
    "PoolStats",
    "QuickCodec",
    "ValueLimits",
    "decode",
    "decode_batch",
    "encode",
    "encode_batch",
    "encode_to_bytes",
    "encode_to_bytes_large_buffer",
    "from_data_value",
    "from_json",
    "get_pool_stats",
    "json_lines",
    "pack",
    "parse_records",
    "record",
    "to_data_value",
    "to_json",
    "to_tree",
    "unpack",
    "values",
]
