"""Where spans go: OpenTelemetry's SDK batches them in a thread of its own and sends them by OTLP over gRPC.

What the SDK reads from the environment holds: OTEL_EXPORTER_OTLP_… (TLS, headers, compression, time-out, and the
endpoint where the settings name none), OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME, span limits. What does not fit
into its queue is dropped: spans never hold up records.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

import ratsvc
from ratsvc.errors import SettingsError
from ratsvc.settings import TracingSettings

CLOSE_S = 2.0


class Exporting:
    """A tracer whose spans are sent. Raises SettingsError when the exporter cannot be set up."""

    def __init__(self, settings: TracingSettings) -> None:
        try:
            self._exporter = OTLPSpanExporter(endpoint=settings.endpoint or None)
        except (ValueError, OSError) as error:  # as a file of certificates that OTEL_… names and that is not there
            raise SettingsError(f"the exporter of traces cannot be set up: {error}") from None
        # Which requests are traced is decided before the SDK is called: see `tracing`.
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(settings), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=settings.queue_spans,
                schedule_delay_millis=settings.export_interval_s * 1000,
                max_export_batch_size=min(settings.batch_spans, settings.queue_spans),
            )
        )
        self.tracer = self._provider.get_tracer("ratsvc", ratsvc.__version__)

    async def close(self) -> None:
        """Sends what waits, for at most CLOSE_S: a collector that does not answer holds up no stop."""
        thread = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, CLOSE_S)
        if thread.is_alive():  # it would try again for as long as its time-out lasts
            await asyncio.to_thread(self._exporter.shutdown)
            await asyncio.to_thread(thread.join, 1.0)


def _resource(settings: TracingSettings) -> Resource:
    """Who we are: what the environment says wins, but for a name in the settings."""
    instance = f"{socket.gethostname()}-{os.getpid()}"
    ours = Resource({"service.version": ratsvc.__version__, "service.instance.id": instance})
    found = ours.merge(Resource.create())
    unnamed = str(found.attributes["service.name"]).startswith("unknown_service")
    name = settings.service_name or ("ratsvc" if unnamed else "")
    return found.merge(Resource({"service.name": name})) if name else found
