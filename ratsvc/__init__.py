"""ratsvc: a streaming gateway. Typed gRPC in, HTTP streams out."""

__version__ = "0.1.0"
