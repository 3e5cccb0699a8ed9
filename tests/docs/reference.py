"""Writes the reference of settings and metrics from the code: `python -m tests.docs.reference docs/reference`."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ratsvc.flow.broker import Broker
from ratsvc.http_api.operations import BrokerMetrics
from ratsvc.settings import ENV_PREFIX, Settings

HEAD = "<!-- Made from the code by `make docs`: do not edit. -->\n"
UNITS = {"bytes": "bytes", "s": "seconds", "ms": "milliseconds", "percent": "percent", "bytes_per_s": "bytes a second",
         "per_s": "number a second"}  # fmt: skip
KINDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path",
         SecretStr: "text, never shown"}  # fmt: skip
SIGNS = {"ge": "at least {:,}", "gt": "over {:,}", "le": "at most {:,}"}


def settings_page() -> str:
    """Every setting: name, environment, type, default, meaning."""
    lines = [
        HEAD,
        "# Settings",
        "",
        "Defaults < `--config FILE` (TOML) < environment < flags. Any of them is a flag as `--set NAME=VALUE`;",
        "`ratsvc serve --help` shows those that have a flag of their own, `ratsvc config show` what is in force, and",
        "`ratsvc config check FILE` says what is wrong with a file. An unknown setting is refused.",
        "",
        "In the environment a list is JSON, `RATSVC_CORS_ORIGINS='[\"https://app.example.com\"]'`, and so is what is",
        'kept of the streams of patterns: `RATSVC_STREAMS=\'{"prices.>": {"max_age": "1h"}}\'`.',
        "",
        *_part(Settings, "", ""),
    ]
    return "\n".join(lines) + "\n"


def _part(model: type[BaseModel], prefix: str, title: str) -> list[str]:
    """A table of the settings of a part, then the parts in it."""
    texts = _attribute_texts(model)
    lines = [f"## `[{title}]`", "", _text(model.__doc__ or ""), ""] if title else []
    lines += ["| setting | type | default | |", "|---|---|---|---|"]
    parts: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        values = get_args(kind)[1:] if get_origin(kind) is dict else (kind,)
        part = next((one for one in values if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if part is not None:
            inside = f"{prefix}{name}" + ('."PATTERN"' if get_origin(kind) is dict else "")
            intro = [texts[name], ""] if name in texts else []
            table = _part(part, f"{inside}.", inside)
            parts += ["", *table[:2], *intro, *table[4 if intro else 2 :]]
        else:
            lines.append(_row(prefix, name, field, texts[name]))
    return lines + parts


def _row(prefix: str, name: str, field: FieldInfo, text: str) -> str:
    full = prefix + name
    variable = "" if '"' in full else f"<br>`{ENV_PREFIX}{full.upper().replace('.', '__')}`"
    return f"| `{full}`{variable} | {_type(field, name)} | {_default(field, name)} | {text} |"


def _type(field: FieldInfo, name: str) -> str:
    words = [_kind(field.annotation)]
    unit = next((UNITS[unit] for unit in sorted(UNITS, key=len, reverse=True) if name.endswith(f"_{unit}")), None)
    if unit and "number" in words[0]:
        words[0] = unit if "whole" not in words[0] or unit == "bytes" else f"{unit}, whole"
    for limit in field.metadata:
        words += [form.format(getattr(limit, sign)) for sign, form in SIGNS.items() if hasattr(limit, sign)]
    return ", ".join(words)


def _kind(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in get_args(kind))
    if origin is list:
        return "list"
    if origin in (Union, types.UnionType):
        kinds = [_kind(one) for one in get_args(kind) if one is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if hasattr(kind, "__metadata__"):
        return _kind(kind.__origin__)
    return KINDS[kind]


def _default(field: FieldInfo, name: str) -> str:
    value = field.default
    if value in (None, [], ""):
        return "none"
    if name.endswith("bytes") and value:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value % size == 0:
                return f"{value} ({value // size} {unit})"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:.10g}`" if isinstance(value, float) else f"`{value}`"


def _attribute_texts(model: type[BaseModel]) -> dict[str, str]:
    """The text under each attribute of a class."""
    [body] = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for attribute, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(attribute, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(attribute.target, ast.Name)
            found[attribute.target.id] = _text(str(text.value.value))
    return found


def _text(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def metrics_page() -> str:
    """Every metric of `/metrics`: name, type, labels, meaning."""
    ours = asyncio.run(_families())
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    lines = [
        HEAD,
        "# Metrics",
        "",
        "`GET /metrics`, in Prometheus' text format. A histogram has `_bucket`, `_sum` and `_count`. No label holds a",
        "stream's name, but those of the streams with the most bytes, when `metrics_top_streams` asks for them",
        "([settings](settings.md)). [Operations](../operations.md#watching-it) says what the alerts ask for.",
        "",
        "| metric | type | labels | |",
        "|---|---|---|---|",
        *sorted(_metric(family, getattr(family, "_labelnames", ())) for family in ours),
        "",
        "Of the process and its Python, from `prometheus_client`:",
        "",
        "| metric | type | labels | |",
        "|---|---|---|---|",
        *sorted(_metric(family, family.samples[0].labels) for family in registry.collect()),
    ]
    return "\n".join(lines) + "\n"


async def _families() -> list[Metric]:
    """What a service says of itself: it has to be made in an event loop."""
    return list(BrokerMetrics(Broker(Settings(metrics_top_streams=1)), 1).collect())


def _metric(family: Any, labels: Any) -> str:
    name = family.name + ("_total" if family.type == "counter" else "")
    return f"| `{name}` | {family.type} | {', '.join(f'`{one}`' for one in labels)} | {_text(family.documentation)} |"


PAGES = {"settings.md": settings_page, "metrics.md": metrics_page}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (Path(sys.argv[1]) / page).write_text(make())
