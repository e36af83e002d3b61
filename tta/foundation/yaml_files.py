"""YAML of a user's, within bounds: numbers as they are written, every key once.

PyYAML's safe loader reads YAML 1.1, in which ``1e-3`` is text, takes the last of two equal keys
in silence, and lets a few lines stand for billions of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tta.foundation.errors import WRONG_VALUES, UserError, message_of

GREATEST_LENGTH = 1 << 20
"""Characters of a text."""
GREATEST_SIZE = 100_000
"""Values that a text may stand for, each alias counted as all that it repeats."""
GREATEST_DEPTH = 50
_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """The safe loader, to which ``1e-3`` is a number as well."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"it has {key.value!r} twice; name it once", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which puts text in quotes that the loader would take for a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def parse_yaml(text: str, what: str) -> Any:
    """Return what a YAML text says: mappings, lists, text, numbers, truth values and None.

    Args:
        text: the YAML.
        what: it is, for messages ("'grid.yaml'").

    Raises:
        UserError: it is no YAML, beyond bounds, has a key twice, or a value that is not of
            its tag.
    """
    if len(text) > GREATEST_LENGTH:
        raise UserError(
            f"{what} is longer than {GREATEST_LENGTH} characters; name a file of options"
        )
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_bounds(node, what)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        place = message_of(error).replace('in "<unicode string>", ', "in ")
        raise UserError(f"{what} is not valid YAML: {place}") from error
    except RecursionError as error:
        raise UserError(f"{what} is nested too deeply; write it plainly") from error
    except WRONG_VALUES as error:  # not what their tag says
        raise UserError(
            f"{what} has a value that is not of its kind ({type(error).__name__}: {error}); "
            "put text in quotes"
        ) from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_bounds(root: yaml.Node, what: str) -> None:
    sizes: dict[int, int] = {}
    path: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in path:
            raise UserError(f"{what} has a value that contains itself; write it plainly")
        if id(node) not in sizes:
            path.add(id(node))
            if len(path) > GREATEST_DEPTH:
                raise UserError(f"{what} is nested deeper than {GREATEST_DEPTH} levels")
            sizes[id(node)] = 1 + sum(size(inner) for inner in _inside(node))
            path.remove(id(node))
        return sizes[id(node)]

    if size(root) > GREATEST_SIZE:
        raise UserError(f"{what} stands for more than {GREATEST_SIZE} values; write it plainly")


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def dump_yaml(values: Any) -> str:
    """Return plain values as YAML from which :func:`parse_yaml` makes the same again."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)
