"""Pure state: no asyncio, no I/O, no protobuf, no HTTP. The same calls give the same state."""
