"""Lists of class names: files, timm's lists of ImageNet, and what a model says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tta.foundation.errors import UserError, did_you_mean
from tta.tasks.classes.outputs import WNID, OutputNames

NUMBERS = "@numbers"
_21K = ("imagenet-22k", "imagenet-22k-ms", "imagenet-21k-goog", "imagenet-21k-miil")
IMAGENET_LISTS: dict[str, tuple[str, ...]] = {
    "@imagenet": ("imagenet-1k", "imagenet-12k", *_21K),
    "@imagenet-1k": ("imagenet-1k",),
    "@imagenet-12k": ("imagenet-12k",),
    "@imagenet-21k": _21K,
    "@imagenet-22k": _21K[:2],
}
"""Words for ``--classes``, and timm's lists that they stand for; the number of outputs decides."""
BACKGROUND = 1001
"""Outputs of nets trained on ImageNet with a background class, which is output 0."""


def check_choice(choice: str | None) -> None:
    """Refuse a ``--classes`` that is neither a known list nor a file of names, without timm.

    Raises:
        UserError: an unknown list, or a file that cannot be read or is no list of names.
    """
    if choice is None or choice == NUMBERS or choice in IMAGENET_LISTS:
        return
    if choice.startswith("@"):
        hint = did_you_mean(choice, [NUMBERS, *IMAGENET_LISTS])
        raise UserError(f"unknown list --classes {choice}; {hint}")
    read_class_names(choice)


def chosen_names(choice: str, outputs: int, backbone: str) -> OutputNames:
    """Return the names that ``--classes`` gives the outputs of a model.

    Args:
        choice: a file, ``@numbers``, or one of :data:`IMAGENET_LISTS`.
        outputs: of the model.
        backbone: its name, for messages.

    Raises:
        UserError: no such list, a file that cannot be read, or another number of names.
    """
    check_choice(choice)
    if choice == NUMBERS:
        return OutputNames(tuple(map(str, range(outputs))), "--classes @numbers")
    if choice in IMAGENET_LISTS:
        found = imagenet_names(outputs, IMAGENET_LISTS[choice])
        if found is None:
            raise UserError(
                f"--classes {choice} has no list of {outputs:,} names, which are the outputs of "
                f"backbone {backbone!r}; pass a file of its class names as --classes FILE"
            )
        return found
    names = read_class_names(choice)
    if len(names) != outputs:
        raise UserError(
            f"--classes {choice} has {len(names):,} names, but backbone {backbone!r} has "
            f"{outputs:,} outputs; give every output a line, in their order (an output that is "
            "no class too, such as 'background')"
        )
    return OutputNames(names, choice, _lemmas(names))


def read_class_names(path: str) -> tuple[str, ...]:
    """Return the lines of the file of ``--classes``, names of a model's outputs.

    Raises:
        UserError: the file is missing, no text or empty, or a line is blank or there twice.
    """
    lists = f", or one of {', '.join([*IMAGENET_LISTS, NUMBERS])}"
    return read_names(path, f"--classes {path}", lists)


def read_names(path: str, said: str, otherwise: str = "") -> tuple[str, ...]:
    """Return the lines of a UTF-8 text file, a name each.

    Args:
        path: the file.
        said: what messages call it.
        otherwise: what could be given in its place.

    Raises:
        UserError: the file is missing, no text or empty, or a line is blank or there twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{said} is no UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise UserError(
            f"{said} cannot be read ({error.strerror}); name a text file with one class "
            f"name per line{otherwise}"
        ) from error
    if "\0" in text:
        raise UserError(f"{said} is no UTF-8 text; save it as UTF-8")
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise UserError(f"{said} is empty; write one class name per line")
    _check_lines(lines, said)
    return tuple(lines)


def _check_lines(lines: Sequence[str], said: str) -> None:
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            raise UserError(
                f"line {number} of {said} is blank; remove it, or name the output (one "
                "that is no class too, such as 'background')"
            )
        if line in first:
            raise UserError(
                f"lines {first[line]} and {number} of {said} are both {line!r}; give "
                "every output a name of its own"
            )
        first[line] = number


def own_names(outputs: int, given: Sequence[str] | Mapping[Any, str] | None) -> OutputNames | None:
    """Return the ``label_names`` that a model's configuration gives its outputs, if any.

    They are a sequence, or a mapping from an output (a number, or its text) to a name. Names of
    another number of outputs are those of another classifier, and passed over.
    """
    if not given:
        return None
    if isinstance(given, Mapping):
        if not all(str(output).isdecimal() for output in given):
            return None
        by_output = {int(output): str(name) for output, name in given.items()}
        if max(by_output) >= outputs:
            return None
        names: tuple[str | None, ...] = tuple(by_output.get(output) for output in range(outputs))
    else:
        names = tuple(map(str, given))
    known = [name for name in names if name is not None]
    if len(names) != outputs or len(set(known)) < len(known):
        return None
    return OutputNames(names, "the label names in the model's configuration", _lemmas(known))


def imagenet_names(outputs: int, lists: Sequence[str] | None = None) -> OutputNames | None:
    """Return timm's names of a model trained on ImageNet, by its number of outputs.

    Args:
        outputs: of the model; 1,001 are taken for a background class and the 1,000 others.
        lists: which of timm's lists may be meant; None for all.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset  # takes long to import

    background = int(outputs == BACKGROUND)
    subset = infer_imagenet_subset({"num_classes": outputs - background})
    if subset is None or lists is not None and subset not in lists:
        return None
    wnids = tuple(ImageNetInfo(subset).label_names())
    origin = f"timm's list {subset}"
    if background:
        origin += ", after output 0 as a background class"
    return OutputNames((*[None] * background, *wnids), origin, _lemmas(wnids))


def _lemmas(names: Sequence[str]) -> dict[str, str]:
    wnids = [name for name in names if WNID.fullmatch(name)]
    known = _known_lemmas() if wnids else {}
    return {wnid: known[wnid] for wnid in wnids if wnid in known}


@cache
def _known_lemmas() -> dict[str, str]:
    from timm.data import ImageNetInfo  # takes long to import

    lists = ("imagenet-21k-goog", "imagenet-1k")  # together every wnid that timm knows
    parts = [ImageNetInfo(name).label_descriptions(as_dict=True) for name in lists]
    return parts[0] | parts[1]
