"""The command line: each command is a module; `main` puts them together."""

import os

from ratsvc.errors import InvalidArgument

# gRPC's C core writes lines of its own to standard error; what matters of them is said by us.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


class UsageError(InvalidArgument):
    """The command line is wrong."""
