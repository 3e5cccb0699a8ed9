"""`/openapi.json`: what quart-schema makes of the views, and what it cannot see: the publish route, which Quart does
not serve, what routes answer with that are no view of a value, and the problems that every route may answer with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import msgspec
from quart_schema.openapi import QUART_SCHEMA_HIDDEN_ATTRIBUTE, OpenAPIProvider
from werkzeug.routing import Rule

from ratsvc.http_api import problem
from ratsvc.http_api.publish import MEDIA_TYPES, Published, PublishParameters
from ratsvc.http_api.status import ConnectionPage, Status
from ratsvc.http_api.streams import StreamPage
from ratsvc.http_api.upload import UploadView

_REFERRED = (StreamPage, Published, Status, ConnectionPage, UploadView)
STREAM = "/v1/streams/{name}"


def _plainly(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


READS = (STREAM, "/v1/subscribe")
FORMATS = {
    "text/event-stream": "Server-Sent Events",
    "application/x-ndjson": "A JSON document a line",
    "application/json-seq": "RFC 7464",
    "text/plain": "A line a record",
    "application/octet-stream": "Each record's bytes, nothing between",
    "application/vnd.rat.v1.frames+protobuf": "Varint-delimited rat.v1.Frame",
}
_PAGE = {
    "type": "object",
    "description": "A page: next is the cursor to read on from",
    "required": ["records", "gaps", "next", "ended"],
    "properties": {
        "records": {"type": "array", "items": {}},
        "gaps": {"type": "array", "items": {"type": "object"}},
        "next": {"type": "string"},
        "ended": {"type": "boolean"},
    },
}
#: What these answer with where all is well.
_ANSWERS: dict[tuple[str, str], dict[str, Any]] = {
    ("/healthz", "get"): {"200": _plainly("It serves", "application/json", {"type": "object"})},
    ("/readyz", "get"): {"200": _plainly("It takes and gives records", "application/json", {"type": "object"})},
    ("/metrics", "get"): {"200": _plainly("The figures", "text/plain", {"type": "string"})},
    (STREAM, "delete"): {"204": {"description": "The stream is gone"}},
}
_READ_HEADERS = {
    "Rat-Cursor": "Where the response starts",
    "Rat-Gap": "What is missing at its start, if anything: from, to, reason",
    "Content-Encoding": "gzip, where Accept-Encoding asks for it; never in application/octet-stream",
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "/problems/<slug>: one for each class of error"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, and what was expected"},
        "request_id": {"type": "string", "description": "The request's id, which the service's log has too"},
        "field": {"type": "string", "description": "The parameter, header or part of the body that was wrong"},
    },
}
_REFUSED = {
    "description": "Refused",
    "content": {problem.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class Provider(OpenAPIProvider):
    """The OpenAPI document of the service."""

    def generate_rules(self) -> Iterable[Rule]:
        """The rules that Quart serves."""
        views = self._app.view_functions
        served = (rule for rule in self._app.url_map.iter_rules() if rule.endpoint in views)
        return (rule for rule in served if not getattr(views[rule.endpoint], QUART_SCHEMA_HIDDEN_ATTRIBUTE, False))

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        """The view's name."""
        return func.__name__

    def schema(self) -> dict[str, Any]:
        """The whole document: made once, for it takes 40 ms."""
        return self._document

    @cached_property
    def _document(self) -> dict[str, Any]:
        document = super().schema()
        paths, schemas = document["paths"], document["components"]["schemas"]
        # quart-schema loses the types that msgspec's schemas refer to.
        schemas |= msgspec.json.schema_components(_REFERRED, ref_template="#/components/schemas/{name}")[1]
        schemas["Problem"] = _PROBLEM
        paths[STREAM]["post"] = self._publish(paths[STREAM]["put"]["parameters"][:1])
        for path in READS:
            read = paths[path]["get"]
            read["parameters"].append(_header("Last-Event-ID", "A cursor; wins over last_event_id and from"))
            read["parameters"].append(_header("Accept-Encoding", "gzip: each batch can be decoded when it comes"))
            read["parameters"].append(_header("Range", "Bytes of a stream that is one file, read as chunked"))
            read["responses"] |= {
                200: _streams(),
                204: {"description": "The stream was ended, and nothing is left"},
                206: {"description": "The part of a file that Range asked for"},
                303: {"description": "A browser that goes there is sent to the stream's page"},
            }
        for path, operations in paths.items():
            for method, operation in operations.items():
                done = {str(status): response for status, response in operation["responses"].items()}
                operation["responses"] = (done or _ANSWERS[path, method]) | {"default": _REFUSED}
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "stream" and path == "/v1/subscribe":
                        parameter["required"] = True
                    if not parameter["schema"].get("default"):  # stands for nothing here; to send it may be refused
                        parameter["schema"].pop("default", None)
        return document

    def _publish(self, path_parameters: list[dict[str, Any]]) -> dict[str, Any]:
        parameters, _ = self.build_querystring_parameters(PublishParameters)
        response, _ = self.build_response_object(Published, None)
        answer = response["content"]["application/json"]
        answer["schema"] = {"anyOf": [answer["schema"], {"$ref": "#/components/schemas/UploadView"}]}
        return {
            "operationId": "publish",
            "summary": "Publishes records to a stream.",
            "description": (
                "JSON: one record, or with split=1 one for each item of the list. JSON lines and text: one a line."
                " Bytes: one for each 64 KiB. A body of unknown or great length is stored as it comes. With file= the"
                " body is a file of any type, and the answer an UploadView."
            ),
            "parameters": [
                *path_parameters,
                *parameters,
                _header("Idempotency-Key", "Visible ASCII: a retry with the same key stores nothing twice"),
                _header("Repr-Digest", "For a file: its sha-256, to be compared (RFC 9530)"),
                _header("Content-Digest", "For a file: the sha-256 of this body, to be compared"),
            ],
            "requestBody": {"required": True, "content": {media_type: {} for media_type in MEDIA_TYPES}},
            "responses": {200: response},
        }


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description}


def _streams() -> dict[str, Any]:
    return {
        "description": "The records, as they come",
        "headers": {name: {"schema": {"type": "string"}, "description": text} for name, text in _READ_HEADERS.items()},
        "content": {
            **{media_type: {"schema": {"type": "string", "description": text}} for media_type, text in FORMATS.items()},
            "application/json": {"schema": _PAGE},
        },
    }
