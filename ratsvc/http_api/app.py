"""Puts the HTTP edge together: the routes in a Quart app, and the gate in front of it."""

from __future__ import annotations

from quart import Quart, Response
from quart_schema import Info, QuartSchema
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

import ratsvc
from ratsvc.errors import RatError
from ratsvc.flow.broker import Broker
from ratsvc.http_api import problem
from ratsvc.http_api.gate import PUBLISH, SMALL_BODY_BYTES, Gate, log_failure
from ratsvc.http_api.openapi import Provider
from ratsvc.http_api.operations import Operations
from ratsvc.http_api.publish import Publish
from ratsvc.http_api.status import StatusRoutes
from ratsvc.http_api.streams import Streams
from ratsvc.http_api.subscribe import Subscribe
from ratsvc.http_api.web import Web


def create_app(broker: Broker) -> Gate:
    """The HTTP edge of `broker`: an ASGI application."""
    app = Quart("ratsvc", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = SMALL_BODY_BYTES
    app.url_map.merge_slashes = False
    QuartSchema(
        app,
        openapi_path="/openapi.json",
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        info=Info(title="ratsvc", version=ratsvc.__version__, description="Typed gRPC in, HTTP streams out."),
        conversion_preference="msgspec",
        openapi_provider_class=Provider,
    )
    for routes in (Subscribe(broker), Streams(broker), Operations(broker), StatusRoutes(broker), Web()):
        routes.add_to(app)
    app.url_map.add(Rule("/v1/streams/<name>", endpoint=PUBLISH, methods=["POST"]))
    app.register_error_handler(RatError, _refused)
    app.register_error_handler(HTTPException, _refused_by_quart)
    app.register_error_handler(Exception, _failed)
    return Gate(app, Publish(broker), broker.settings, broker.figures)


async def _refused(error: RatError) -> Response:
    return _response(problem.refusal(error))


async def _refused_by_quart(error: HTTPException) -> Response:
    return _response(problem.malformed(error.code or 400, error.name))


async def _failed(error: Exception) -> Response:
    log_failure(error)
    return _response(problem.refusal(problem.Internal()))


def _response(reply: problem.Reply) -> Response:
    return Response(reply.body, reply.status, reply.fields)
