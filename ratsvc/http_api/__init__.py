"""HTTP: reading streams in all formats, publishing, streams, operations, and the pages under `/ui/`.

`app.create_app(broker)` is an ASGI callable: the gate (`gate`) in front of a Quart app. The gate refuses what is
malformed or too large before Quart sees it, and takes publish bodies itself, so that the client is held back
when the queue is full. Every refusal is `application/problem+json` (RFC 9457).
"""
