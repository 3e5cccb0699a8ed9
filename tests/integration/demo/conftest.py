"""For the demos' tests: none of them may leave an error in the log."""

from tests.integration.http.conftest import log_lines

__all__ = ["log_lines"]
