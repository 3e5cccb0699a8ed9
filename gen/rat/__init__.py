"""Generated from protos/rat/v1."""
