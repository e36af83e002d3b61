"""What the source of a class declares, read without running it or importing torch.

A class body is followed as far as it consists of plain assignments: numbers, text, tuples, names
of other modules of this package, and the declarations of hyper-parameters and benchmarks. What is
made in another way is left out; whoever asks finds it once the class itself is imported.
"""

from __future__ import annotations

import ast
import dataclasses
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_BUILTINS = {kind.__name__: kind for kind in (bool, float, int, object, str, tuple)}
_PLAIN = ("tta.datasets.benchmark", "tta.methods.params")
"""Modules that import no torch: what they offer is taken as it is."""


class Undeclared(Exception):  # noqa: N818 - no error: the answer that there is no answer
    """The source does not tell."""


@cache
def declared(location: str) -> type:
    """Return a class with the attributes that the source of ``module:Class`` declares.

    Its bases are made in the same way, and a nested ``Params`` is a dataclass as well.

    Raises:
        Undeclared: the source does not tell.
    """
    module, _, name = location.partition(":")
    found = _named(module, name)
    if not isinstance(found, type):
        raise Undeclared
    return found


def first_line(location: str) -> str:
    """Return the first line of the docstring that ``module:name``, a class or function, has.

    Raises:
        Undeclared: the source does not tell.
    """
    module, _, name = location.partition(":")
    statement = _statements(module).get(name)
    if not isinstance(statement, ast.ClassDef | ast.FunctionDef):
        raise Undeclared
    return (ast.get_docstring(statement) or "").partition("\n")[0]


@cache
def _statements(module: str) -> dict[str, ast.stmt]:
    """Return the statement that binds each name of a module."""
    bound: dict[str, ast.stmt] = {}
    for statement in ast.parse(_source(module).read_bytes()).body:
        for name in _bound_by(statement):
            bound[name] = statement
    return bound


def _source(module: str) -> Path:
    # Not by importlib: it imports the package that a module is in.
    path = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _bound_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.ImportFrom):
        return [alias.asname or alias.name for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id] if statement.value is not None else []
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
        return [statement.name]
    return []


@cache
def _named(module: str, name: str) -> Any:
    """Return what a name of a module stands for."""
    if module in _PLAIN:
        return getattr(import_module(module), name)
    statement = _statements(module).get(name)
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(_PACKAGE):
        return _imported(statement, name)
    if isinstance(statement, ast.ClassDef):
        return _class(statement, module)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        return _value(statement.value, module)
    if statement is None and name in _BUILTINS:
        return _BUILTINS[name]
    raise Undeclared


def _imported(statement: ast.ImportFrom, name: str) -> Any:
    original = next(item.name for item in statement.names if name in (item.asname, item.name))
    return _named(str(statement.module), original)


def _class(node: ast.ClassDef, module: str) -> type:
    bases = tuple(base for base in map(_or_none(module), node.bases) if isinstance(base, type))
    body = {"__module__": module, "__annotations__": {}}
    strict = bool(node.decorator_list)  # a dataclass with a field left out would be another one
    for statement in node.body:
        try:
            body |= _assigned(statement, module, body["__annotations__"])
        except Undeclared:
            if strict or isinstance(statement, ast.ClassDef):  # not its base's in its place
                raise
    if strict and len(bases) < len(node.bases):
        raise Undeclared
    made = type(node.name, bases, body)
    return dataclasses.dataclass(frozen=True)(made) if strict else made


def _or_none(module: str) -> Any:
    def value(node: ast.expr) -> Any:
        try:
            return _value(node, module)
        except Undeclared:
            return None

    return value


def _assigned(statement: ast.stmt, module: str, annotations: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that a statement of a class body sets."""
    if isinstance(statement, ast.ClassDef):
        return {statement.name: _class(statement, module)}
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
        return {}
    names = _bound_by(statement)
    value = _value(statement.value, module)
    if isinstance(statement, ast.AnnAssign):
        annotations.update((name, _or_none(module)(statement.annotation)) for name in names)
    return dict.fromkeys(names, value)


def _value(node: ast.expr, module: str) -> Any:
    """Return the value of an expression."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_value(item, module) for item in node.elts)
    if isinstance(node, ast.Dict):
        keys = [_value(key, module) for key in node.keys if key is not None]
        return dict(zip(keys, map(_or_none(module), node.values), strict=False))
    if isinstance(node, ast.Name):
        return _named(module, node.id)
    if isinstance(node, ast.Attribute):
        return _attribute(_value(node.value, module), node.attr)
    if isinstance(node, (ast.UnaryOp, ast.BinOp)):
        return _calculated(node, module)
    if isinstance(node, ast.Subscript):
        return _item(_value(node.value, module), _value(node.slice, module))
    if isinstance(node, ast.Call):
        return _called(node, module)
    raise Undeclared


def _attribute(owner: Any, name: str) -> Any:
    if not hasattr(owner, name):
        raise Undeclared
    return getattr(owner, name)


def _item(owner: Any, key: Any) -> Any:
    try:
        return owner[key]
    except (TypeError, LookupError):
        raise Undeclared from None


def _calculated(node: ast.UnaryOp | ast.BinOp, module: str) -> Any:
    if isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub):
            return -_value(node.operand, module)
        raise Undeclared
    left, right = _value(node.left, module), _value(node.right, module)
    try:
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Div):
            return left / right
        if isinstance(node.op, ast.BitOr):
            return left | right
    except TypeError:
        pass
    raise Undeclared


def _called(node: ast.Call, module: str) -> Any:
    """Return what a declaration of :data:`_PLAIN`, ``tuple()`` or ``str()`` returns."""
    function = _value(node.func, module)
    if function not in (tuple, str) and getattr(function, "__module__", "") not in _PLAIN:
        raise Undeclared
    words = {item.arg: _value(item.value, module) for item in node.keywords if item.arg}
    return function(*(_value(item, module) for item in node.args), **words)
