"""The imports of rewritten code: what it uses now, and no more what only the old code did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import libcst as cst

from ratsvc.cli.oldcode import (
    FACTORIES,
    FACTORY_MODULE,
    NEW,
    OLD,
    Survey,
    alias_name,
    dotted,
    has_new,
    is_old,
    module_of,
)


class Imports(cst.CSTTransformer):
    """The last walk.

    Args:
        survey: what the first one found.
        new: the factories that the code calls now.
        sse: the name of the route decorator in it.
    """

    def __init__(self, survey: Survey, new: set[str], sse: str) -> None:
        super().__init__()
        self._survey = survey
        self._new = new
        self._sse = sse
        self._still: set[str] = set()

    def visit_Module(self, node: cst.Module) -> None:
        class Used(cst.CSTVisitor):
            def visit_Call(_, call: cst.Call) -> None:  # noqa: N805
                self._still.add(dotted(call.func))

        node.visit(Used())

    def leave_ImportAlias(self, original_node: cst.ImportAlias, updated_node: cst.ImportAlias) -> cst.ImportAlias:
        if not _is_of(original_node, OLD):
            return updated_node
        return updated_node.with_changes(name=_name(NEW + dotted(original_node.name).removeprefix(OLD)))

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine] | cst.RemovalSentinel:
        first = original_node.body[0]
        if isinstance(first, cst.ImportFrom) and is_old(first) and not isinstance(first.names, cst.ImportStar):
            lines = self._lines(first, first.names)
        elif (
            isinstance(first, cst.Import)
            and self._survey.has_sse_routes
            and NEW in cst.Module([]).code_for_node(updated_node)
        ):
            lines = [cst.Module([]).code_for_node(updated_node).strip(), *self._take_sse()]
        else:
            return updated_node
        statements = [cst.ensure_type(cst.parse_statement(line), cst.SimpleStatementLine) for line in lines]
        statements[0] = statements[0].with_changes(leading_lines=updated_node.leading_lines)
        return cst.FlattenSentinel(statements)

    def _lines(self, node: cst.ImportFrom, aliases: Sequence[cst.ImportAlias]) -> list[str]:
        module = module_of(node)
        same, kept, new = [], [], []
        for alias in aliases:
            name, other = dotted(alias.name), alias_name(alias)
            text = f"{name} as {other}" if other else name
            if name in FACTORIES:
                if (other or name) in self._still:
                    same.append(text)
            elif has_new(module, name):
                same.append(text)
            else:
                kept.append(text)
        if self._new:
            new = sorted(self._new)
            self._new = set()
        lines = []
        if kept:
            lines.append(f"from {module} import {', '.join(kept)}")
        if same:
            lines.append(f"from {NEW}{module.removeprefix(OLD)} import {', '.join(same)}")
        if new:
            lines.append(f"from {FACTORY_MODULE} import {', '.join(new)}")
        return [*lines, *self._take_sse()] or [f"import {NEW}"]

    def _take_sse(self) -> list[str]:
        """The import of the route decorator, once."""
        if not self._survey.has_sse_routes:
            return []
        self._survey.has_sse_routes = False
        return [f"from {NEW}.streaming import sse{'' if self._sse == 'sse' else f' as {self._sse}'}"]


def _name(path: str) -> cst.Name | cst.Attribute:
    return cast(cst.Name | cst.Attribute, cst.parse_expression(path))


def _is_of(alias: cst.ImportAlias, package: str) -> bool:
    path = dotted(alias.name)
    return path == package or path.startswith(f"{package}.")
