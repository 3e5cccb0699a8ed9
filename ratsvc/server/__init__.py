"""Puts the service together: gRPC and HTTP in one event loop; start, drain, stop."""
