"""The command line: each command is a module; `main` puts them together."""

from ratsvc.errors import InvalidArgument


class UsageError(InvalidArgument):
    """The command line is wrong."""
