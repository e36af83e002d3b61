"""Labels of the data, and logits of the models, made to count the same classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tta.backbones.backbone import Backbone
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.named_classes import NamedClasses
from tta.datasets.subset import KeptClasses, Subset
from tta.foundation.errors import UserError
from tta.foundation.notes import with_those_of
from tta.tasks.classes.lists import BACKGROUND, chosen_names, imagenet_names, own_names
from tta.tasks.classes.matching import ClassMap, DataClasses, counted_words, map_classes
from tta.tasks.classes.outputs import OutputNames


@dataclass(frozen=True)
class OutputClasses:
    """What is known of the classes of the source model's outputs.

    Attributes:
        names: of the outputs, or None.
        sure: whether they are the model's own, and no guess from how many there are.
        chosen: whether the user gave them.
        order: of class folders that nothing is known of, or None.
    """

    names: OutputNames | None
    sure: bool
    chosen: bool
    order: str | None


def number_classes(config: RunConfig, dataset: Dataset, backbone: Backbone) -> OutputClasses:
    """Let labels of the test data count the logits of the model, and logits its classes alone.

    Raises:
        UserError: which output a class is cannot be told, or is in doubt.
    """
    model = _output_classes(config, backbone)
    kinds = ("folder:", "folder@gen:")
    folders = any(name.startswith(kinds) for name in (config.dataset, config.source or ""))
    if model.order is not None and not folders:
        raise UserError(
            f"--class-order is for class folders, and labels of {dataset.name!r} are numbers; "
            "leave it out"
        )
    found = _number(dataset, backbone, model)
    backbone.keep_classes(dataset.class_subset)
    if found is not None:
        backbone.understood["classes"] = found.how
        if not found.by_name:  # the order is all that is known, and holds for the source images
            names = OutputNames(found.names, "the class folders of the test data")
            return OutputClasses(names, sure=True, chosen=False, order=None)
    elif dataset.argument == "path":
        backbone.understood["classes"] = counted_words(dataset.num_classes, backbone.outputs)
    return model


def number_source_classes(
    source: Dataset, dataset: Dataset, backbone: Backbone, model: OutputClasses
) -> Dataset:
    """Return the source images of the test data's classes, labelled as these are.

    Raises:
        UserError: which output a class is cannot be told, or no class is one of the test data's.
    """
    found = _number(source, backbone, model)
    outputs = source.class_subset or tuple(range(source.num_classes))
    wanted = dataset.class_subset or tuple(range(backbone.outputs))
    said = [] if found is None else [found.how]
    if outputs == wanted[: len(outputs)]:
        _say_of_source(backbone, said)
        return source
    label = {output: number for number, output in enumerate(wanted)}
    numbers = np.array([label.get(output, -1) for output in outputs], np.int64)
    shared = int((numbers >= 0).sum())
    if not shared:
        raise UserError(
            f"source images {source.name!r} and test data {dataset.name!r} have no class in "
            "common; choose a --source of the same classes"
        )
    if shared < len(outputs):
        words = f"{shared:,} of {len(outputs):,} classes are classes of the test data"
        what = "pixels" if source.dense else "images"
        said.append(f"{words}, and {what} of the others are left out")
    _say_of_source(backbone, said)
    return KeptClasses(source, numbers, len(wanted))


def _say_of_source(backbone: Backbone, words: Sequence[str]) -> None:
    if words:
        others = {"classes": "; ".join(words)}
        backbone.understood = with_those_of("source images", backbone.understood, others)


def number_cloud_classes(
    cloud: Backbone, dataset: Dataset, backbone: Backbone, model: OutputClasses
) -> None:
    """Let logits of the cloud's model have the classes of the source model's, in their order.

    Raises:
        UserError: the cloud's model does not know a class.
    """
    if cloud.outputs == backbone.outputs:
        cloud.keep_classes(dataset.class_subset)
        return
    known = _names_of(cloud)[0]
    if known is None or model.names is None:
        return  # refused where methods check their needs, unless as many classes are left
    wanted = dataset.class_subset or range(backbone.outputs)
    names = tuple(model.names.names[output] or "background" for output in wanted)
    found = map_classes(DataClasses(names, counted=True), cloud.outputs, known, sure=True)
    output = dict(zip(found.names, found.outputs, strict=True))
    cloud.keep_classes([output[name] for name in names])


def _output_classes(config: RunConfig, backbone: Backbone) -> OutputClasses:
    if config.classes is not None:
        names = chosen_names(config.classes, backbone.outputs, backbone.name)
        return OutputClasses(names, sure=True, chosen=True, order=None)
    names, own = _names_of(backbone)
    return OutputClasses(names, sure=own, chosen=False, order=config.class_order)


def _names_of(backbone: Backbone) -> tuple[OutputNames | None, bool]:
    """Return the names of a model's outputs, and whether the model itself gives them."""
    own = own_names(backbone.outputs, backbone.label_names)
    return (own, True) if own is not None else (imagenet_names(backbone.outputs), False)


def _number(dataset: Dataset, backbone: Backbone, model: OutputClasses) -> ClassMap | None:
    """Set what labels count; return None where they are numbers of outputs as they are."""
    data = _data_classes(dataset)
    if not data.counted or _are_named(dataset, data, backbone, model):
        sure = model.sure or not isinstance(dataset, NamedClasses)
        order = None if data.counted else model.order
        found = map_classes(data, backbone.outputs, model.names, order=order, sure=sure)
        if found.by_name or not data.counted:
            _apply(dataset, data, found, backbone.outputs)
            return found
    _check_numbers(dataset, data, backbone)
    return None


def class_names(dataset: Dataset) -> tuple[str, ...] | None:
    """Return what a data set calls the classes that its labels count; None where they are numbers.

    A model that was trained on it has outputs of these names.
    """
    if type(dataset) is Subset:  # domains of it, whose labels count the same
        return class_names(dataset.whole)
    classes = _data_classes(dataset)
    return classes.names if classes.named else None


def _data_classes(dataset: Dataset) -> DataClasses:
    if isinstance(dataset, NamedClasses):
        return dataset.data_classes()
    names = dataset.class_names or tuple(map(str, range(dataset.num_classes)))
    named = dataset.class_names is not None
    return DataClasses(names, counted=True, named=named, noun="classes")


def _are_named(
    dataset: Dataset, data: DataClasses, backbone: Backbone, model: OutputClasses
) -> bool:
    """Return whether the names of counted classes are to be looked for among the outputs'."""
    if model.names is None:
        return False
    if model.chosen:
        return data.named or any(name in model.names.exact for name in data.names)
    own = isinstance(dataset, NamedClasses)
    return data.named and (own or _source_outputs(dataset) != backbone.outputs)


def _source_outputs(dataset: Dataset) -> int:
    return dataset.source_outputs or dataset.num_classes


def _apply(dataset: Dataset, data: DataClasses, found: ClassMap, outputs: int) -> None:
    if isinstance(dataset, NamedClasses):
        whole = found.outputs == tuple(range(outputs))
        dataset.number_classes(found.names, None if whole else found.outputs)
        return
    output = dict(zip(found.names, found.outputs, strict=True))
    ids = tuple(output[name] for name in data.names)
    dataset.class_subset = None if ids == tuple(range(outputs)) else ids


def _check_numbers(dataset: Dataset, data: DataClasses, backbone: Backbone) -> None:
    """Refuse labels that cannot be, or are hardly, the numbers of the model's outputs."""
    expected, outputs = _source_outputs(dataset), backbone.outputs
    if expected > outputs:
        raise UserError(
            f"dataset {dataset.name!r} has labels up to {expected - 1}, but backbone "
            f"{backbone.name!r} knows only {outputs} classes; choose a backbone "
            "trained on these classes, or mend the labels"
        )
    if expected < outputs and dataset.argument != "path":
        raise UserError(
            f"dataset {dataset.name!r} has {expected:,} classes, but backbone {backbone.name!r} "
            f"has {outputs:,} outputs, and nothing tells which is which; choose a backbone trained "
            "on these classes, or pass a file that names every output as --classes: by its label, "
            "or any other name where it is none of the classes"
        )
    if expected < outputs and _counts_other_classes(data, outputs):
        raise UserError(
            f"labels of {dataset.name!r} are numbers from 0 to {expected - 1}, but backbone "
            f"{backbone.name!r} has {outputs:,} outputs, which seem to be other classes of "
            "ImageNet, or to begin with a background class; save the wnids that labels count as "
            "array 'classes', or number the labels as the outputs"
        )


def _counts_other_classes(data: DataClasses, outputs: int) -> bool:
    """Return whether labels seem to count ImageNet's 1,000 classes, and outputs other ones."""
    if outputs == BACKGROUND:
        return data.names[0] in data.shown
    return len(data.names) == 1000 and imagenet_names(outputs) is not None
