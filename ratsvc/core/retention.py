"""How much of a stream is kept: a policy, and what it says of a stream now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Retention:
    """Bounds on a stream; 0 means none (of a default: the next more general one)."""

    max_records: int = 0
    max_bytes: int = 0
    max_age_s: float = 0.0

    def over(self, default: Retention) -> Retention:
        """This policy, with `default` where it says nothing."""
        return Retention(
            self.max_records or default.max_records,
            self.max_bytes or default.max_bytes,
            self.max_age_s or default.max_age_s,
        )
