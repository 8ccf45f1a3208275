"""Puts the meter into a template's tree, before it is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from enfold.tokenization.sandbox_meter import made, metered, seen

__all__ = ["FILTERS", "Metering"]


def _joined(values: list[Any]) -> str:
    seen(values)
    return "".join(map(str, values))


FILTERS: Mapping[str, Callable[..., Any]] = {"_seen": seen, "_made": made, "_metered": metered, "_joined": _joined}
"""The filters that a rewritten template calls."""


class Metering(NodeTransformer):
    """Puts the meter into a template's tree."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [
            _through(
                "_seen", nodes.Const(each.data, lineno=each.lineno) if isinstance(each, nodes.TemplateData) else each
            )
            for each in node.nodes
        ]
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _through("_metered", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> Any:
        self.generic_visit(node)
        return _through("_joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _through("_seen", node.expr)
        for each in node.ops:
            each.expr = _through("_seen", each.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if node.args or node.kwargs or node.dyn_args or node.dyn_kwargs:
            node.node = _through("_seen", node.node)
            node.args = [_through("_seen", each) for each in node.args]
            node.dyn_args = node.dyn_args and _through("_seen", node.dyn_args)
            node.dyn_kwargs = node.dyn_kwargs and _through("_seen", node.dyn_kwargs)
            for each in node.kwargs:
                each.value = _through("_seen", each.value)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> Any:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _through("_made", node)
        node.arg = _hashed(node.arg)
        return node

    def visit_List(self, node: nodes.List) -> Any:
        self.generic_visit(node)
        return _through("_made", node)

    def visit_Dict(self, node: nodes.Dict) -> Any:
        self.generic_visit(node)
        for pair in node.items:
            pair.key = _hashed(pair.key)
        return _through("_made", node)

    def visit_Tuple(self, node: nodes.Tuple) -> Any:
        self.generic_visit(node)
        return node if node.ctx == "store" else _through("_made", node)


def _through(name: str, node: nodes.Node) -> Any:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _hashed(key: nodes.Expr) -> Any:
    """A key: of all of it a hash is made."""
    return key if isinstance(key, nodes.Const) else _through("_seen", key)
