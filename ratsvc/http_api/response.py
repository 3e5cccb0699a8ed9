"""Replies as Quart's responses, for the routes that it serves."""

from __future__ import annotations

from quart import Response

from ratsvc.http_api.problem import Reply, json_reply


def response_of(reply: Reply) -> Response:
    """A reply."""
    return Response(reply.body, reply.status, reply.fields)


def json_response(value: object, status: int = 200) -> Response:
    """A value as JSON."""
    return response_of(json_reply(value, status))
