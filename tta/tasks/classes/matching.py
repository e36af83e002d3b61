"""Which output of a model each class of a data set is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tta.foundation.errors import UserError
from tta.tasks.classes.order import in_order
from tta.tasks.classes.outputs import OutputNames, listed

CURE = (
    "pass the model's class names, one per line in the order of its outputs, as --classes FILE "
    "(or @imagenet, @imagenet-21k; @numbers where the names are numbers of outputs)"
)


@dataclass(frozen=True)
class DataClasses:
    """The classes of a data set, by its own names.

    Attributes:
        names: each once; where ``counted``, in the order in which labels count them.
        empty: those without an image.
        counted: whether labels are numbers that the user gave, and so outputs of the model unless
            names tell otherwise. Names of folders are not counted.
        named: whether the names are more than numbers of labels.
        noun: what messages call them.
    """

    names: tuple[str, ...]
    empty: Collection[str] = ()
    counted: bool = False
    named: bool = True
    noun: str = "class folders"

    @property
    def shown(self) -> list[str]:
        """Names of the classes with images."""
        return [name for name in self.names if name not in self.empty]


@dataclass(frozen=True)
class ClassMap:
    """Classes of a data set and the outputs that they are.

    Attributes:
        names: of the classes, in the order in which labels are to count them.
        outputs: the output of each; ascending.
        how: in words, how they were matched.
        by_name: whether names were found among those of the outputs.
    """

    names: tuple[str, ...]
    outputs: tuple[int, ...]
    how: str
    by_name: bool


def map_classes(
    data: DataClasses,
    outputs: int,
    known: OutputNames | None,
    *,
    order: str | None = None,
    sure: bool = False,
) -> ClassMap:
    """Return which outputs of a model the classes of a data set are.

    Names are looked for among ``known``, as they are spelt or else where nothing but the spelling
    or the choice of a wnid's lemma differs. Where hardly any is there and the numbers of classes
    and outputs agree, classes are outputs by their order.

    Args:
        data: the classes.
        outputs: how many the model has.
        known: their names, or None.
        order: of the names, see :func:`tta.tasks.classes.order.in_order`; where one is given
            it goes before what is known of outputs.
        sure: the names are the model's own, so that every class must be among them.

    Raises:
        UserError: a name that is missing, ambiguous or there twice, unequal numbers of classes and
            outputs, or an order in doubt.
    """
    if known is None or order is not None:
        return _by_order(data, outputs, order)
    found, problems = _look_up(data, known)
    if not set(data.shown) - found.keys() and found:
        return _by_name(data, outputs, known, found)
    if sure or len(found) > len(data.names) / 2 or found and len(data.names) != outputs:
        raise UserError(
            f"{len(problems):,} of {len(data.names):,} {data.noun} are not matched to the "
            f"{outputs:,} outputs of the model by {known.origin}: {listed(problems, 3)}; mend "
            f"these names, choose a model that knows these classes, or {CURE}"
        )
    return _by_order(data, outputs, order)


def _look_up(data: DataClasses, known: OutputNames) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """Return the output and the kind of match by name, and what is wrong with other names."""
    found: dict[str, tuple[int, str]] = {}
    problems = []
    for name in data.names:
        hits = [known.exact[name]] if name in known.exact else known.near(name)
        if len(hits) == 1:
            found[name] = hits[0]
        elif name not in data.empty:
            places = " or ".join(str(output) for output, _ in hits)
            problems.append(f"{name} (outputs {places})" if hits else name)
    _refuse_shared(found, data.noun)
    return found, problems


def _refuse_shared(found: dict[str, tuple[int, str]], noun: str) -> None:
    first: dict[int, str] = {}
    for name, (output, _) in found.items():
        if output in first:
            raise UserError(
                f"{noun} {first[output]!r} and {name!r} are both output {output} of the model; "
                "join them, or rename one"
            )
        first[output] = name


def _by_name(
    data: DataClasses, outputs: int, known: OutputNames, found: dict[str, tuple[int, str]]
) -> ClassMap:
    names = tuple(sorted(found, key=lambda name: found[name][0]))
    kinds = Counter(found[name][1] for name in names)
    by = ", ".join(f"{count:,} by {kind}" for kind, count in kinds.items())
    if len(kinds) == 1:
        by = f"by {next(iter(kinds))}"
    whole = len(names) == outputs
    share = f"all {outputs:,} outputs" if whole else f"{len(names):,} of {outputs:,} outputs"
    how = f"{len(names):,} {data.noun} matched to {share} {by} ({known.origin})"
    how += "" if whole else "; logits limited to these"
    lost = [name for name in data.names if name not in found]
    how += f"; left out, as they hold no image: {listed(lost)}" if lost else ""
    return ClassMap(names, tuple(found[name][0] for name in names), how + _empty(data, names), True)


def _by_order(data: DataClasses, outputs: int, order: str | None) -> ClassMap:
    count = len(data.names)
    if data.counted:
        return ClassMap(data.names, tuple(range(count)), counted_words(count, outputs), False)
    if count != outputs:
        emptied = data.empty and len(data.shown) == outputs
        cure = f"take out the folders without images, or {CURE}" if emptied else CURE
        raise UserError(
            f"the data has {count:,} {data.noun} ({listed(data.names, 3)}"
            f"{_empty(data, data.names)}), the model {outputs:,} outputs, and nothing tells which "
            f"is which; {cure}"
        )
    names = tuple(in_order(data.names, order))
    chosen = f"{order} order (--class-order)" if order else "sorted order"
    ends = f"{names[0]!r} is output 0, {names[-1]!r} output {count - 1:,}"
    how = f"{count:,} {data.noun} numbered in {chosen} of their names: {ends}"
    return ClassMap(names, tuple(range(count)), how + _empty(data, names), False)


def _empty(data: DataClasses, names: Sequence[str]) -> str:
    empty = [name for name in names if name in data.empty]
    return f"; without images: {listed(empty)}" if empty else ""


def counted_words(classes: int, outputs: int) -> str:
    """Return in words that labels are taken as numbers of outputs."""
    if classes == 1:
        return f"label 0 is output 0 of {outputs:,}"
    words = f"labels 0 to {classes - 1:,} are outputs 0 to {classes - 1:,} of {outputs:,}"
    return words + ("; the other outputs have no images" if classes < outputs else "")
