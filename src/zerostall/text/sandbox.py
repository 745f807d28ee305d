"""The jinja2 environment that chat templates run in. Templates are untrusted input.

It renders as transformers does (utils/chat_template_utils.py): trimmed blocks, ``break`` and
``continue``, the ``generation`` block, and a ``tojson`` that does not escape for HTML. jinja2's
sandbox keeps templates away from the interpreter; what it leaves unbounded is bounded here: loop
turns and macro calls are counted, and operators refuse to make results that are too long.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any, cast

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from zerostall.text.bounds import (
    MAX_COUNT,
    RunawayError,
    bounded_filters,
    check_length,
    check_method,
    check_operator,
)

# Walking every pair of 1000 messages takes a million turns, about a second.
MAX_TURNS = 2_000_000
# A macro call takes as long as 20 plain turns.
CALL_TURNS = 20


class RefusedError(TemplateError):
    """The template called ``raise_exception``: its message is for the user."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one template; renderings in several threads count apart."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        self._budget = threading.local()
        self.filters.update(bounded_filters(self.filters), tojson=_to_json)
        del self.globals["lipsum"]
        self.globals.update(
            raise_exception=_raise_exception,
            range=self.bounded_range,
            namespace=_Namespace,
            dict=_make_dict,
        )

    def begin(self) -> None:
        """Start counting for a new rendering in this thread."""
        self._budget.turns = 0

    def turn(self, count: int = 1) -> None:
        """Count turns of a loop or calls of a macro."""
        self._budget.turns += count
        if self._budget.turns > MAX_TURNS:
            raise RunawayError(f"it takes more than {MAX_TURNS} loop turns")

    def counted(self, values: Iterable[Any]) -> Iterator[Any]:
        """Iterate over ``values`` and count each."""
        for value in values:
            self.turn()
            yield value

    def bounded_range(self, *bounds: int) -> range:
        """``range``, which costs its length."""
        values = range(*bounds)
        self.turn(len(values))
        return values

    def concat(self, parts: Iterable[str]) -> str:
        """Join what a block, a macro or the template wrote."""
        parts = list(parts)
        check_length(sum(map(len, parts)))
        return "".join(parts)

    def joined(self, *parts: Any) -> str:
        """The ``~`` operator."""
        return self.concat([str(part) for part in parts])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply an intercepted operator, unless its result would be too long."""
        check_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call an object, unless it is a string method asked for a result that is too long."""
        check_method(target, (*args, *kwargs.values()))
        return super().call(context, target, *args, **kwargs)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        counted: nodes.Template = _Counting().visit(tree)
        return counted


class _Counting(NodeTransformer):
    """Inserts the calls that count turns and check lengths."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _own("counted", [cast(nodes.Expr, node.iter)], node.lineno)
        if node.recursive:
            node.body.insert(0, _call_turns(node.lineno))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.body.insert(0, _call_turns(node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _own("joined", node.nodes, node.lineno)


def _own(method: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    """A call of a method of the environment, which the sandbox cannot reach by name."""
    target = nodes.EnvironmentAttribute(method, lineno=line)
    return nodes.Call(target, arguments, [], None, None, lineno=line)


def _call_turns(line: int) -> nodes.ExprStmt:
    cost = nodes.Const(CALL_TURNS, lineno=line)
    return nodes.ExprStmt(_own("turn", [cost], line), lineno=line)


class _Generation(Extension):
    """``{% generation %}`` marks for training what the model wrote; here it is a scope."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Namespace(Namespace):
    """A namespace without the names that lead into Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *others = args
        Namespace.__init__(self)
        for name, value in dict(*others, **kwargs).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str) or name.startswith("_"):
            raise SecurityError(f"a namespace cannot hold {name!r}")
        Namespace.__setitem__(self, name, value)


def _raise_exception(message: str) -> None:
    raise RefusedError(message)


def _make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(indent, int) and indent > MAX_COUNT:
        raise RunawayError(f"tojson cannot indent by {indent}")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
