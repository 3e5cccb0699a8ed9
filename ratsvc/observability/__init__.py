"""How the service is watched from outside: traces, log lines, and a profile of what it does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ratsvc.errors import SettingsError
from ratsvc.settings import Settings

if TYPE_CHECKING:
    from ratsvc.observability.tracing import Tracing


def open_tracing(settings: Settings) -> Tracing | None:
    """Tracing, where the settings turn it on (and OTEL_SDK_DISABLED does not turn it off); else nothing is imported.

    Raises:
        SettingsError: the OpenTelemetry packages are not installed, or the endpoint cannot be used.
    """
    if not settings.tracing.enabled or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from ratsvc.observability.tracing import Tracing
    except ImportError as error:
        raise SettingsError(
            f"tracing.enabled needs packages that are not installed ({error.name}): pip install 'ratsvc[otel]'"
        ) from None
    return Tracing(settings)
