"""Code written for `rat_engine`'s streaming: what its names hold, function by function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

import libcst as cst
from libcst.metadata import PositionProvider

import ratsvc

OLD, NEW = "rat_engine", "ratsvc"
FACTORIES: Final = {
    "create_sse_channel": "create_segqueue_sse_channel",
    "create_chunked_response": "create_segqueue_chunked_response",
    "create_streaming_response": "create_segqueue_chunked_response",
}
CHUNKED: Final = frozenset({"create_chunked_response", "create_streaming_response"})
SENDER_CALLS: Final = {"send_event": "send_sse_event", "send_data": "send_sse_data"}
CHUNK_CALLS: Final = {"send_chunk": "", "add_chunk": "", "add_large_file_chunks": "", "finish": "end_stream"}
FACTORY_MODULE: Final = f"{NEW}.streaming.segqueue_unified"


@dataclass(slots=True)
class Scope:
    """What the names of a function hold: `channel`, `sender` or `chunked`."""

    parent: Scope | None = None
    holds: dict[str, str] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    """Chunked responses whose calls cannot be rewritten."""

    def owner(self, key: str) -> Scope | None:
        """The scope in which `key` got what it holds."""
        if key in self.holds:
            return self
        return self.parent.owner(key) if self.parent is not None else None

    def kind(self, key: str) -> str | None:
        """What `key` holds here."""
        owner = self.owner(key)
        return owner.holds[key] if owner is not None else None


class Scoped:
    """Keeps the scope that a walk is in."""

    def __init__(self) -> None:
        self.scopes: dict[cst.CSTNode, Scope] = {}
        self.scope = self.top = Scope()

    def enter(self, node: cst.CSTNode) -> None:
        """Goes into a function."""
        self.scope = self.scopes.setdefault(node, Scope(self.scope))

    def leave(self) -> None:
        """Goes out of it."""
        assert self.scope.parent is not None
        self.scope = self.scope.parent

    def home(self, key: str) -> Scope:
        """Where what is assigned to `key` is noted: attributes belong to the whole file."""
        return self.top if "." in key else self.scope


class Survey(cst.CSTVisitor):
    """The first walk."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.scoped = Scoped()
        self.imported: dict[str, str] = {}
        """Old factories by the name they have in this file."""
        self.module_names: set[str] = set()
        """Names of the module `rat_engine` in this file."""
        self.bound: set[str] = set()
        self.notes: list[tuple[int, str]] = []
        self.has_sse_routes = False

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.bound.add(node.name.value)
        self.scoped.enter(node)

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self.scoped.leave()

    def visit_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            path = dotted(alias.name)
            if path == OLD or path.startswith(f"{OLD}."):
                self.module_names.add(alias_name(alias) or OLD)

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if not is_old(node) or isinstance(node.names, cst.ImportStar):
            return
        module = module_of(node)
        for alias in node.names:
            name = dotted(alias.name)
            if name in FACTORIES:
                self.imported[alias_name(alias) or name] = name
            elif not has_new(module, name):
                self._note(node, f"{NEW}{module.removeprefix(OLD)} has no {name}")

    def visit_Assign(self, node: cst.Assign) -> None:
        key = dotted(node.targets[0].target)
        if len(node.targets) == 1 and key:
            self.bound.add(key)
            held = self._held(node.value)
            if held is not None:
                self.scoped.home(key).holds[key] = held

    def visit_Decorator(self, node: cst.Decorator) -> None:
        if sse_route(node) is not None:
            self.has_sse_routes = True

    def visit_Call(self, node: cst.Call) -> None:
        if not isinstance(node.func, cst.Attribute):
            return
        key, call = dotted(node.func.value), node.func.attr.value
        if self.scoped.scope.kind(key) != "chunked" or call not in CHUNK_CALLS:
            return
        if call != "finish" and chunk_call(call, node.args) is None:
            owner = self.scoped.scope.owner(key)
            assert owner is not None
            owner.unclear.add(key)
            self._note(node, f"whether {call} gets text or bytes does not show: left as it is")

    def factory(self, func: cst.BaseExpression) -> str | None:
        """The old factory that a call's function is."""
        path = dotted(func)
        if path in self.imported:
            return self.imported[path]
        base, _, name = path.rpartition(".")
        return name if name in FACTORIES and base.split(".")[0] in self.module_names else None

    def _held(self, value: cst.BaseExpression) -> str | None:
        if not isinstance(value, cst.Call):
            return None
        if isinstance(value.func, cst.Attribute) and value.func.attr.value == "get_sender":
            return "sender"
        old = self.factory(value.func)
        if old is None:
            return "channel" if dotted(value.func).endswith("create_segqueue_sse_channel") else None
        return "chunked" if old in CHUNKED else "channel"

    def _note(self, node: cst.CSTNode, what: str) -> None:
        self.notes.append((self.get_metadata(PositionProvider, node).start.line, what))


def chunk_call(call: str, args: Sequence[cst.Arg]) -> str | None:
    """The sender's call for a chunked response's `send_chunk` or the like; None when it does not show."""
    if call == "add_large_file_chunks":
        return "send_large_file"
    value = args[0].value if args else None
    if isinstance(value, cst.SimpleString | cst.FormattedString):
        return "send_binary_chunk" if isinstance(value, cst.SimpleString) and "b" in value.prefix else "send_text_chunk"
    if isinstance(value, cst.Call):
        name = dotted(value.func).rpartition(".")[2]
        if isinstance(value.func, cst.Attribute):
            name = value.func.attr.value
        return {"encode": "send_binary_chunk", "dumps": "send_text_chunk", "str": "send_text_chunk",
                "bytes": "send_binary_chunk", "format": "send_text_chunk", "join": None}.get(name)  # fmt: skip
    return None


def dotted(node: cst.CSTNode) -> str:
    """`a.b.c` for names and attributes; nothing for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr.value}" if base else ""
    return ""


def alias_name(alias: cst.ImportAlias) -> str | None:
    """The other name that an import gives."""
    return dotted(alias.asname.name) if alias.asname is not None else None


def module_of(node: cst.ImportFrom) -> str:
    """The module that it imports from; nothing for a relative one."""
    return dotted(node.module) if node.module is not None and not node.relative else ""


def is_old(node: cst.ImportFrom) -> bool:
    """Whether it imports from `rat_engine`."""
    return f"{module_of(node)}.".startswith(f"{OLD}.")


def has_new(module: str, name: str) -> bool:
    """Whether the in-process API has, in the module of that path, what the old `module` is to give."""
    found: object = ratsvc
    for part in [*module.split(".")[1:], name]:
        found = getattr(found, part, None)
    home = found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", None)
    return isinstance(home, str) and home.startswith((f"{NEW}.streaming", f"{NEW}.quickmem"))


def sse_route(node: cst.Decorator) -> cst.BaseExpression | None:
    """The app of `@app.sse("/path")`."""
    call = node.decorator
    if not isinstance(call, cst.Call) or not isinstance(call.func, cst.Attribute) or call.func.attr.value != "sse":
        return None
    return call.func.value if call.args and isinstance(call.args[0].value, cst.SimpleString) else None
