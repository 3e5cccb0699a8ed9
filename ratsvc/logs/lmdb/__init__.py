"""The durable engine: records in an LMDB database in a directory of their own."""

from ratsvc.logs.lmdb.engine import LmdbLog

__all__ = ["LmdbLog"]
