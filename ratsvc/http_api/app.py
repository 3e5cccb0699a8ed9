"""Puts the HTTP edge together: the routes in a Quart app, and the gate in front of it."""

from __future__ import annotations

from quart import Quart, Response
from quart_schema import Info, QuartSchema
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

import ratsvc
from ratsvc.errors import RatError
from ratsvc.flow.broker import Broker
from ratsvc.formats import Budget
from ratsvc.http_api import problem
from ratsvc.http_api.debug import Debug
from ratsvc.http_api.gate import PUBLISH, SMALL_BODY_BYTES, Gate, log_failure
from ratsvc.http_api.guest import Guest
from ratsvc.http_api.openapi import Provider
from ratsvc.http_api.operations import Operations
from ratsvc.http_api.publish import Publish
from ratsvc.http_api.response import response_of
from ratsvc.http_api.status import StatusRoutes
from ratsvc.http_api.streams import Streams
from ratsvc.http_api.subscribe import Subscribe
from ratsvc.http_api.web import Web
from ratsvc.http_api.whole import WholeResponses


def create_app(broker: Broker, guest: Guest | None = None) -> Gate:
    """The HTTP edge of `broker`, and a guest's routes beside it: an ASGI application."""
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
    web = Web(guest.links if guest else "")
    compression, figures = broker.settings.compression, broker.figures
    budget = Budget(compression.cpu_percent, figures)
    for routes in (Subscribe(broker, budget), Streams(broker), Operations(broker), StatusRoutes(broker), web):
        routes.add_to(app)
    app.after_request(WholeResponses(compression, budget, figures, web.contents).pack)
    if broker.settings.debug_token is not None:
        Debug(broker, broker.settings.debug_token).add_to(app)
    app.url_map.add(Rule("/v1/streams/<name>", endpoint=PUBLISH, methods=["POST"]))
    for rule in guest.app.url_map.iter_rules() if guest else ():
        app.url_map.add(Rule(rule.rule, endpoint=rule.endpoint, methods=rule.methods))
    for served in (app, guest.app) if guest else (app,):
        served.register_error_handler(RatError, _refused)
        served.register_error_handler(HTTPException, _refused_by_quart)
        served.register_error_handler(Exception, _failed)
    return Gate(app, Publish(broker), broker.settings, broker.figures, broker.tracing, guest)


async def _refused(error: RatError) -> Response:
    return response_of(problem.refusal(error))


async def _refused_by_quart(error: HTTPException) -> Response:
    return response_of(problem.malformed(error.code or 400, error.name))


async def _failed(error: Exception) -> Response:
    log_failure(error)
    return response_of(problem.refusal(problem.Internal()))
