"""The gRPC edge: `rat.v1`'s services over the broker, health and reflection."""
