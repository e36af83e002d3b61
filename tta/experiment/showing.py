"""In which size images are shown to a model: one rule for files and arrays.

The options come first: ``--input-size`` is the size, ``--resize`` and ``--crop`` say how images
get it. Where only those two are given, the size is the one that the backbone is configured for
(with ``--resize none`` the images' own, if all have one). What the options leave open follows
from the data:

- *Images of one's own* (``arrays:``, ``folder:``, ``folder@gen:``), the whole data set looked at:
  where all have the size to be shown, they are shown as they are. Where all have one size that is
  smaller than the configured one, the weights come from a file, and the network is one for any
  size (a forward pass works, no side is below its stride, and it has no position embedding to
  resample), they are shown as they are too: nets for small images are trained on small images,
  whatever the architecture is configured for. All others are brought to the configured size by
  timm's transform for evaluation: ``crop_pct``, ``crop_mode`` and interpolation of the backbone's
  ``pretrained_cfg``. timm's own weights are always shown the size that they are configured for:
  they were trained on it. The line that a run prints names the other size that could be meant.
- *Published image files* (ImageNet-C, PACS, ...) get the configured size by the transform of the
  papers. ``--resize`` and ``--crop`` change that part of it which they name. Papers on image-text
  models show them by the model's own transform, and so it is done here; what is corrupted on the
  fly keeps that of the published corrupted images.
- *Data sets of one size* (digits, CIFAR) are shown as they are; with options, they are resized as
  images of one's own.
- *Images that are segmented* have the size of the published protocol, or else their own, as a
  network that segments takes any; they are resized whole, not cropped. Label maps follow.

Source images are shown in the size of the test images, by the same rule; of ``--resize`` and
``--crop`` they follow what differs from how the test images would be shown without: a choice that
is written out is the same as one left open. A size that the network cannot take is refused before
the stream starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image

from tta.backbones.backbone import Backbone
from tta.backbones.sizes import evaluation_transform, has_own_size, refusal, stride, why_not
from tta.datasets import Dataset
from tta.datasets.resizing import AS_THEY_ARE, SQUASH, Resizing
from tta.foundation.errors import UserError
from tta.foundation.geometry import FILTERS, HOWS, Size, as_option, in_words

_LEAST_SQUARE = 16
"""Side of the smallest image that can be corrupted."""


class Options(Protocol):
    """The options of a run that matter here."""

    input_size: Size | None
    resize: str | None
    crop: float | None


@dataclass(frozen=True)
class Geometry:
    """How the images of a data set are shown.

    Attributes:
        size: (height, width).
        resizing: how images get it.
        chosen: whether options say how, or all follows from the data.
        place: domain and severity of an image that will be shown.
    """

    size: Size
    resizing: Resizing
    chosen: bool
    place: tuple[str, int]

    def resolved(self) -> dict[str, object]:
        """Return the options that say the same."""
        resizing = self.resizing
        resampled = resizing.how != "none"
        return {
            "input_size": list(self.size),
            "resize": f"{resizing.how},{resizing.filter.name.lower()}" if resampled else "none",
            "crop": resizing.crop if resampled else 1.0,
        }


def show(
    options: Options,
    dataset: Dataset,
    place: tuple[str, int],
    backbone: Backbone,
    from_file: bool,
) -> Geometry:
    """Decide how images are shown, and let the data set show them so.

    Args:
        options: what the user asks for.
        dataset: whose ``image_size`` and ``resizing`` are set.
        place: domain and severity of an image that will be shown.
        backbone: as loaded.
        from_file: whether its weights come from a file, and not from timm.

    Raises:
        UserError: the backbone cannot take that size, or the options do not fit the images.
    """
    native = _looked_at(dataset, place)
    size = _size(options, dataset, native, backbone, from_file)
    check_size(dataset, backbone, size, native)
    resizing = _show_in(options, dataset, backbone, size, native)
    asked = (options.input_size, options.resize, options.crop)
    return Geometry(size, resizing, any(value is not None for value in asked), place)


def show_source(source: Dataset, dataset: Dataset, backbone: Backbone) -> None:
    """Let source images be shown as the test images are, see above.

    Args:
        source: whose ``image_size`` and ``resizing`` are set.
        dataset: the test data, after :func:`show`.
        backbone: as loaded.

    Raises:
        UserError: they do not fit.
    """
    native = _looked_at(source, (source.domains[0], source.severities[0]))
    _show_in(_departures(dataset, backbone), source, backbone, dataset.image_size, native)


@dataclass(frozen=True)
class _Departures:
    """What options have changed of the way in which the test images would be shown."""

    input_size: Size
    resize: str | None
    crop: float | None


def _departures(dataset: Dataset, backbone: Backbone) -> _Departures:
    size, shown = dataset.image_size, dataset.resizing
    native = _looked_at(dataset, (dataset.domains[0], dataset.default_severity))
    usual = _usual_resizing(dataset, backbone, size, native)
    if shown.how == "none":
        return _Departures(size, None if usual.how == "none" else "none", None)
    everything = usual.how == "none"  # its filter and crop say nothing
    words = [shown.how] if everything or shown.how != usual.how else []
    if everything or shown.filter != usual.filter:
        words.append(shown.filter.name.lower())
    crop = shown.crop if everything or shown.crop != usual.crop else None
    return _Departures(size, ",".join(words) or None, crop)


def _looked_at(dataset: Dataset, place: tuple[str, int]) -> frozenset[Size]:
    """Return the sizes on which the size shown may depend."""
    return dataset.native_sizes(*place) if dataset.sizing != "backbone" else frozenset()


def check_size(
    dataset: Dataset, backbone: Backbone, size: Size, native: frozenset[Size] = frozenset()
) -> None:
    """Refuse a size that a backbone cannot take, or a data set not be shown in.

    Raises:
        UserError: it cannot.
    """
    if not _is_showable(dataset, size):
        raise UserError(
            f"images of {dataset.name!r} would be shown in {in_words(size)}, and only squares of "
            f"at least {_LEAST_SQUARE}x{_LEAST_SQUARE} can be corrupted: pass --input-size SIDE"
        )
    if why_not(backbone, size) is not None:
        asked = f"in which those of {dataset.name!r} would be shown"
        if native == {size}:
            asked = f"which those of {dataset.name!r} have"
        raise refusal(backbone, size, asked)


def described(geometry: Geometry, dataset: Dataset, backbone: Backbone) -> dict[str, str]:
    """Return in words how images are shown, by key of :data:`tta.foundation.notes.ORDER`.

    Nothing is said of data sets of one size that keep it.
    """
    native, size = dataset.native_sizes(*geometry.place), geometry.size
    kept = native == {size} and geometry.resizing.how == "none"
    if kept and dataset.sizing == "fixed":
        return {}
    text = f"{_sizes_in_words(native)} on disk, shown "
    text += "as they are" if kept else f"in {in_words(size)}: {_steps(geometry.resizing, size)}"
    if dataset.sizing == "own" and not geometry.chosen:
        text += _doubt(native, size, backbone)
    oblong = any(height != width for height, width in (*native, size))
    return {"images": text + (" (height x width)" if oblong else "")}


def described_source(
    source: Dataset, backbone: Backbone, test: Mapping[str, str]
) -> dict[str, str]:
    """Return likewise how source images are shown; nothing where the test images are shown so.

    Args:
        source: as :func:`show_source` has left it.
        backbone: that they are shown to.
        test: what :func:`described` has said of the test images.
    """
    place = source.domains[0], source.severities[0]
    geometry = Geometry(source.image_size, source.resizing, chosen=True, place=place)
    notes = described(geometry, source, backbone)
    same = all(test.get(name, "").startswith(text) for name, text in notes.items())
    return {} if same else notes


def _size(
    options: Options,
    dataset: Dataset,
    native: frozenset[Size],
    backbone: Backbone,
    from_file: bool,
) -> Size:
    if options.input_size is not None:
        return options.input_size
    if dataset.dense:
        return _dense_size(options, dataset, native)
    configured = backbone.input_size[1:]
    if dataset.sizing == "backbone":
        return configured
    if options.resize == "none":
        return _only(native, dataset)
    if options.resize is not None or options.crop is not None:
        return configured
    if dataset.sizing == "fixed" or from_file and _is_kept(dataset, native, backbone):
        return _only(native, dataset)
    return configured


def _dense_size(options: Options, dataset: Dataset, native: frozenset[Size]) -> Size:
    if options.resize == "none":
        return _only(native, dataset)
    if dataset.usual_size is None and len(native) > 1:
        raise UserError(
            f"images of {dataset.name!r} have {_sizes_in_words(native)}, and a batch has one: pass "
            "--input-size H,W, to which they and their label maps are resized"
        )
    return dataset.usual_size or next(iter(native))


def _only(native: frozenset[Size], dataset: Dataset) -> Size:
    if len(native) > 1:
        raise UserError(
            f"images of {dataset.name!r} have {_sizes_in_words(native)}, and are not to be "
            "resized: pass --input-size H,W to cut out their centre, or leave --resize none out"
        )
    return next(iter(native))


def _is_kept(dataset: Dataset, native: frozenset[Size], backbone: Backbone) -> bool:
    """Return whether images of one's own are all of one smaller size which the network takes."""
    configured = backbone.input_size[1:]
    if len(native) > 1 or not _is_showable(dataset, size := next(iter(native))):
        return False
    smaller = size != configured and size[0] <= configured[0] and size[1] <= configured[1]
    if not smaller or has_own_size(backbone) or min(size) < stride(backbone):
        return False
    return why_not(backbone, size) is None


def _is_showable(dataset: Dataset, size: Size) -> bool:
    return not dataset.square or size[0] == size[1] >= _LEAST_SQUARE


def _show_in(
    options: Options, dataset: Dataset, backbone: Backbone, size: Size, native: frozenset[Size]
) -> Resizing:
    resizing = _resizing(options, dataset, backbone, size, native)
    if resizing.how == "none":
        _check_large_enough(dataset, native, size)
    dataset.image_size, dataset.resizing = size, resizing
    kept = native == {size} and resizing.how == "none"
    dataset.costly = dataset.costly or not kept
    return resizing


def _resizing(
    options: Options, dataset: Dataset, backbone: Backbone, size: Size, native: frozenset[Size]
) -> Resizing:
    words = options.resize.split(",") if options.resize else []
    if words == ["none"]:
        return AS_THEY_ARE
    if not words and options.crop is None:
        return _usual_resizing(dataset, backbone, size, native)
    how = next((word for word in words if word in HOWS), None)
    resizing = _usual_resizing(dataset, backbone, size, frozenset(), how)
    for word in words:
        if word in FILTERS:
            resizing = replace(resizing, filter=Image.Resampling[word.upper()])
    if options.crop is not None:
        resizing = replace(resizing, crop=options.crop)
    nothing_to_do = native == {size} and resizing.how != "none" and resizing.sides(size) == size
    return AS_THEY_ARE if nothing_to_do else resizing


def _usual_resizing(
    dataset: Dataset,
    backbone: Backbone,
    size: Size,
    native: frozenset[Size],
    how: str | None = None,
) -> Resizing:
    """Return how images get a size where no option but ``how`` says so."""
    if native == {size}:
        return AS_THEY_ARE
    if _follows_the_model(dataset, backbone) and not dataset.dense:
        return evaluation_transform(backbone, how)
    published = SQUASH if dataset.dense else type(dataset).resizing
    return replace(published, how=how) if how else published


def _follows_the_model(dataset: Dataset, backbone: Backbone) -> bool:
    reads_text = backbone.text is not None and not dataset.makes_corruptions
    return dataset.sizing != "backbone" or reads_text


def _check_large_enough(dataset: Dataset, native: frozenset[Size], size: Size) -> None:
    small = [one for one in native if one[0] < size[0] or one[1] < size[1]]
    if small:
        raise UserError(
            f"an image of {dataset.name!r} is {in_words(min(small))}, smaller than the "
            f"{in_words(size)} to be shown, and --resize none was asked for: leave it out, or "
            "pass a smaller --input-size"
        )


def _doubt(native: frozenset[Size], size: Size, backbone: Backbone) -> str:
    """Return the other size that images of one size could be meant to be shown in."""
    configured = backbone.input_size[1:]
    if len(native) > 1 or native == {configured}:
        return ""
    if native == {size}:
        return (
            f"; {backbone.name} is configured for {in_words(configured)}: if it was trained on "
            f"that, pass --input-size {as_option(configured)}"
        )
    own = next(iter(native))
    cure = f"pass --input-size {as_option(own)}"
    return f"; if {backbone.name} was trained on {in_words(own)}, {cure}"


def _sizes_in_words(sizes: Iterable[Size]) -> str:
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    if len(ordered) == 1:
        return in_words(ordered[0])
    return f"{len(ordered)} sizes from {in_words(ordered[0])} to {in_words(ordered[-1])}"


def _steps(resizing: Resizing, size: Size) -> str:
    if resizing.how == "none":
        return "centre cut out, nothing resized"
    height, width = sides = resizing.sides(size)
    words = f"resized to {in_words(sides)} whatever their shape"
    if resizing.how == "shorter":
        side = f"shorter side resized to {height}"
        words = side if height == width else f"resized to cover {in_words(sides)}"
    words += f", {resizing.filter.name.lower()}"
    return words if sides == size and resizing.how == "squash" else f"{words}, centre cut out"
