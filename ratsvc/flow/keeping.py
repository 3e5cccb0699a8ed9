"""What is kept and where, as the settings ask for it: the log, which knows no settings, is told here.

A stream keeps what was asked for it, over the defaults of the patterns that cover it, the most specific first, over the
general ones.
"""

from __future__ import annotations

from collections.abc import Callable

from ratsvc.core.dedupe import Dedupe
from ratsvc.core.registry import Registry
from ratsvc.core.retention import Retention
from ratsvc.logs import DiskLimits, open_log
from ratsvc.logs.protocol import Log
from ratsvc.names import matches
from ratsvc.settings import Settings


def log_of(settings: Settings, defaults: Callable[[str], Retention]) -> Log:
    """The engine that the settings ask for, opened. Raises LogRefused."""
    limits, disk = settings.limits, settings.disk
    return open_log(
        Registry(limits.streams),
        Dedupe(limits.producers, int(limits.producer_idle_s * 1e9), limits.idempotency_keys),
        defaults,
        memory_bytes=limits.log_bytes,
        data_dir=settings.data_dir,
        flush_interval_s=settings.flush_interval_s if settings.durability == "interval" else 0.0,
        disk=DiskLimits(disk.log_bytes, disk.reserve_bytes, disk.trim_percent, disk.full_percent, disk.survey_s),
    )


def defaults_of(settings: Settings) -> Callable[[str], Retention]:
    """What a stream keeps, by its name, where it was not asked for anything else."""
    policies = sorted(settings.streams.items(), key=_specificity)

    def defaults(name: str) -> Retention:
        policy = Retention()
        for pattern, kept in policies:
            if matches(pattern, name):
                policy = policy.over(kept.retention())
        return policy.over(settings.general_retention())

    return defaults


def _specificity(policy: tuple[str, object]) -> tuple[int, int, str]:
    """Sorts patterns from the most specific to the least: fewer wildcards, then more tokens."""
    tokens = policy[0].split(".")
    return tokens.count("*") + 100 * tokens.count(">"), -len(tokens), policy[0]
