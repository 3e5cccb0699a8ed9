"""Code written for `rat_engine`'s streaming, rewritten for `ratsvc`: names, calls and imports, and nothing else.

A first walk notes what names hold (channels, senders, chunked responses) in each function; a second one renames by
it. What cannot be told from the code is left alone and noted: the old calls still work, with a warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import libcst as cst
from libcst.metadata import MetadataWrapper

from ratsvc.cli.oldcode import (
    CHUNK_CALLS,
    CHUNKED,
    FACTORIES,
    NEW,
    OLD,
    SENDER_CALLS,
    Survey,
    chunk_call,
    dotted,
    sse_route,
)
from ratsvc.cli.oldimports import Imports


@dataclass(slots=True)
class Rewritten:
    """What became of a file."""

    before: bytes
    after: bytes
    notes: list[tuple[int, str]] = field(default_factory=list)
    """Lines that a person has to look at, and why."""


def rewrite(source: bytes) -> Rewritten:
    """Returns a file's code for `ratsvc`; the same code when it has nothing of `rat_engine`.

    Raises:
        libcst.ParserSyntaxError: it is not Python.
    """
    if OLD.encode() not in source:
        return Rewritten(source, source)
    wrapper = MetadataWrapper(cst.parse_module(source))
    survey = Survey()
    wrapper.visit(survey)
    rewriter = _Rewriter(survey)
    module = wrapper.module.visit(rewriter)
    return Rewritten(source, module.bytes, sorted(set(survey.notes)))


class _Rewriter(cst.CSTTransformer):
    """The second walk."""

    def __init__(self, survey: Survey) -> None:
        super().__init__()
        self._survey = survey
        self._scoped = survey.scoped
        self._scoped.scope = self._scoped.top
        self._sse = "sse" if "sse" not in survey.bound else "streaming_sse"
        self._old_used: set[str] = set()
        self._new_used: set[str] = set()

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._scoped.enter(node)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        self._scoped.leave()
        return updated_node

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.Attribute:
        return updated_node.with_changes(value=self._module(updated_node.value))

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        return updated_node.with_changes(value=self._module(updated_node.value))

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(value=self._module(updated_node.value))

    def leave_Decorator(self, original_node: cst.Decorator, updated_node: cst.Decorator) -> cst.Decorator:
        app = sse_route(original_node)
        if app is None:
            return updated_node
        call = cst.ensure_type(updated_node.decorator, cst.Call)
        return updated_node.with_changes(
            decorator=call.with_changes(func=cst.Name(self._sse), args=[_argument(app), *call.args])
        )

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        old = self._survey.factory(original_node.func)
        if old is not None and old not in CHUNKED:
            return self._made(old, updated_node)
        func = original_node.func
        if dotted(func).endswith("register_streaming_connection"):
            return updated_node.with_changes(args=[self._sender_for(arg) for arg in updated_node.args])
        if not isinstance(func, cst.Attribute):
            return updated_node
        key, call = dotted(func.value), func.attr.value
        kind = self._scoped.scope.kind(key)
        if call in SENDER_CALLS and (kind == "sender" or _gets_sender(func.value)):
            renamed = cst.ensure_type(updated_node.func, cst.Attribute).with_changes(attr=cst.Name(SENDER_CALLS[call]))
            return updated_node.with_changes(func=renamed)
        if kind == "chunked" and call in CHUNK_CALLS and self._is_clear(key):
            return _chunked(key, call, updated_node)
        return updated_node

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine]:
        first = original_node.body[0]
        if len(original_node.body) != 1 or not isinstance(first, cst.Assign):
            return updated_node
        old = self._survey.factory(first.value.func) if isinstance(first.value, cst.Call) else None
        key = dotted(first.targets[0].target)
        if old not in CHUNKED:
            return updated_node
        if self._scoped.scope.kind(key) != "chunked" or not self._is_clear(key):
            self._old_used.add(old)
            return updated_node
        assign = cst.ensure_type(updated_node.body[0], cst.Assign)
        made = self._made(old, cst.ensure_type(assign.value, cst.Call))
        sender = cst.parse_statement(f"{_sender_name(key)} = {key}.get_sender()")
        line = updated_node.with_changes(body=[assign.with_changes(value=made)])
        return cst.FlattenSentinel([line, cst.ensure_type(sender, cst.SimpleStatementLine)])

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        return cst.ensure_type(updated_node.visit(Imports(self._survey, self._new_used, self._sse)), cst.Module)

    def _module(self, value: cst.BaseExpression) -> cst.BaseExpression:
        """`ratsvc` for `rat_engine`."""
        is_module = isinstance(value, cst.Name) and value.value == OLD and OLD in self._survey.module_names
        return cst.Name(NEW) if is_module else value

    def _made(self, old: str, call: cst.Call) -> cst.Call:
        """The call of the new factory."""
        new = FACTORIES[old]
        if isinstance(call.func, cst.Attribute):
            base = dotted(call.func.value).split(".")[0]
            return call.with_changes(func=_expression(f"{base}.streaming.segqueue_unified.{new}"))
        self._new_used.add(new)
        return call.with_changes(func=cst.Name(new))

    def _sender_for(self, arg: cst.Arg) -> cst.Arg:
        key = dotted(arg.value)
        held = self._scoped.scope.kind(key) if key else None
        if held == "chunked" and self._is_clear(key):
            return arg.with_changes(value=_expression(_sender_name(key)))
        return arg.with_changes(value=_expression(f"{key}.get_sender()")) if held == "channel" else arg

    def _is_clear(self, key: str) -> bool:
        owner = self._scoped.scope.owner(key)
        return owner is not None and key not in owner.unclear


def _gets_sender(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "get_sender"


def _chunked(key: str, call: str, node: cst.Call) -> cst.Call:
    """A chunked response's call as its sender's."""
    new = CHUNK_CALLS[call] or chunk_call(call, node.args)
    args: Iterable[cst.Arg] = node.args
    if call == "add_large_file_chunks":
        args = [_argument(cst.SimpleString('"message"')), *args]
    return node.with_changes(func=_expression(f"{_sender_name(key)}.{new}"), args=list(args))


def _sender_name(key: str) -> str:
    return f"{key}_sender"


def _argument(value: cst.BaseExpression) -> cst.Arg:
    return cst.Arg(value, comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))


def _expression(code: str) -> cst.BaseExpression:
    return cst.parse_expression(code)
