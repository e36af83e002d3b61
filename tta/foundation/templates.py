"""Templates into which names of classes are put, for models that read text."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.inputs import is_file, read_text, shown_path
from tta.foundation.text import shown

DATASET = "dataset"
OPEN_CLIP_LISTS = {"openai80": "OPENAI_IMAGENET_TEMPLATES", "simple7": "SIMPLE_IMAGENET_TEMPLATES"}
"""Words for lists that open_clip carries: OpenAI's 80 for ImageNet, and the 7 best of them."""
WORDS = (DATASET, *OPEN_CLIP_LISTS)
_GREATEST = 10_000


def parse_templates(value: Any) -> tuple[str, ...]:
    """Return the value of ``--templates`` as a tuple: a word, a file, or templates themselves.

    A text of the command line is one of them, whatever commas it has; YAML may have a list.

    Raises:
        UserError: it is no text.
    """
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (tuple, list)) or not all(isinstance(one, str) for one in values):
        raise UserError(
            f"--templates takes {', '.join(WORDS)}, a text with {{}} in the place of the class, or "
            f"a file of such, but got {shown(value)}"
        )
    return tuple(values)


def check_templates(chosen: Sequence[str] | None) -> None:
    """Refuse what :func:`read_templates` would, before the data set and open_clip are there.

    Raises:
        UserError: see there.
    """
    if chosen is not None:
        _expanded(chosen, ("{}",), lists=False)


def read_templates(chosen: Sequence[str] | None, own: Sequence[str]) -> tuple[str, ...]:
    """Return templates, each with one ``{}``.

    Args:
        chosen: words of :data:`WORDS`, templates, or files with one in each line; None is the data
            set's.
        own: of the data set.

    Raises:
        UserError: an unknown word, a file that cannot be read, a text that is no template, or one
            that is there twice.
    """
    return _expanded(chosen or (DATASET,), own, lists=True)


def _expanded(chosen: Sequence[str], own: Sequence[str], lists: bool) -> tuple[str, ...]:
    found: list[str] = []
    for one in chosen:
        if one in OPEN_CLIP_LISTS:
            found += _of_open_clip(one) if lists else []
        else:
            found += own if one == DATASET else [one] if "{" in one or "}" in one else _lines(one)
    for template in found:
        check_template(template)
    if len(set(found)) < len(found):
        twice = next(one for one in found if found.count(one) > 1)
        raise UserError(f"template {shown(twice)} is there twice; leave one out")
    return tuple(found)


def check_template(template: str) -> None:
    """Refuse a text without one place for the name of a class.

    Raises:
        UserError: see above.
    """
    rest = template.replace("{}", "", 1)
    if rest == template or "{" in rest or "}" in rest:
        raise UserError(
            f"template {shown(template)} must have {{}} once, in the place of the class's name, "
            "and no other braces"
        )


def _of_open_clip(word: str) -> list[str]:
    if find_spec("open_clip") is None:
        raise UserError(
            f"--templates {word} needs the package open_clip_torch, which carries the list: pip "
            "install open_clip_torch"
        )
    import open_clip  # takes seconds

    return [template("{}") for template in getattr(open_clip, OPEN_CLIP_LISTS[word])]


def _lines(path: str) -> list[str]:
    if not is_file(path, "--templates"):
        raise UserError(
            f"--templates {shown_path(path)} is no file; write a template with {{}} in it, name a "
            f"text file with one per line, or a word: {did_you_mean(path, WORDS)}"
        )
    text = read_text(path, "--templates")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(lines) > _GREATEST:
        place = f"--templates {shown_path(path)}"
        raise UserError(f"{place} must have 1 to {_GREATEST:,} lines, and has {len(lines)}")
    return lines


def templates_in_words(templates: Sequence[str]) -> str:
    """Return templates in a few words: a single one itself, of several the first and their number.

    Args:
        templates: as a record has them.
    """
    first = repr(templates[0]) if templates else "none"
    return first if len(templates) < 2 else f"{len(templates)} templates such as {first}"
