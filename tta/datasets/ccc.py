"""CCC, continuously changing corruptions (Press et al., NeurIPS 2023), made on the fly.

Every image has two corruptions, whose severities change in small steps along a path on which a
source model's accuracy stays where the difficulty wants it (see ``ccc_path``). The stream has no
end; what is at a position depends on the position, the seed and that model alone.

    ccc:difficulty=medium,speed=1000,seed=43,calibration=256

Options, all of which may be left out: ``difficulty`` easy, medium or hard (accuracies of 40, 20 and
0 %), ``speed`` in images per step (published: 1000, 2000, 5000), ``seed`` (published: 43, 44, 45),
and ``calibration``, the number of clean images on which the source model's accuracy is measured.
The random numbers are others than the authors', and so are the pairs of a seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tta.corruptions import corrupt
from tta.corruptions.digital import as_jpeg
from tta.corruptions.random import ImageRandom
from tta.datasets.base import NATURAL, shifted
from tta.datasets.ccc_crops import RandomCrop, padded_crops
from tta.datasets.ccc_path import DIFFICULTIES, Itinerary, Measure, Step
from tta.datasets.cifar import ON_CIFAR10, ON_CIFAR100
from tta.datasets.cifar_batches import CIFAR10, CIFAR100, Edition, read_split
from tta.datasets.facts import DatasetFacts
from tta.datasets.generated import GeneratedDataset
from tta.datasets.imagenet import ON_IMAGENET, ImageNetValidation
from tta.datasets.images import read_image, take_rows
from tta.datasets.resizing import resized_or_fitted
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.geometry import Size

LENGTH = 7_500_000
"""Images of a published stream."""
SIDE = 224
_STORED_QUALITY = 85


@dataclass(frozen=True)
class CccOptions:
    """What follows ``ccc:``."""

    difficulty: str = "medium"
    speed: int = 1000
    seed: int = 43
    calibration: int = 256


def parse_options(text: str) -> CccOptions:
    """Return options of the form ``difficulty=hard,speed=2000``.

    Raises:
        UserError: an unknown name or a value out of range.
    """
    names = [field.name for field in dataclasses.fields(CccOptions)]
    values: dict[str, str | int] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in names:
            raise UserError(f"ccc has no option {name!r}; {did_you_mean(name, names)}")
        values[name] = value if name == "difficulty" else _number(name, value)
    options = CccOptions(**values)
    if options.difficulty not in DIFFICULTIES:
        hint = did_you_mean(options.difficulty, DIFFICULTIES)
        raise UserError(f"ccc has no difficulty {options.difficulty!r}; {hint}")
    return options


def _number(name: str, value: str) -> int:
    least = 0 if name == "seed" else 1
    if not value.isdecimal() or int(value) < least:
        raise UserError(f"{name} of ccc must be a whole number of at least {least}, not {value!r}")
    return int(value)


class ContinuallyChanging(GeneratedDataset):
    """An endless stream of clean images under two slowly changing corruptions.

    Images can be asked for once :meth:`calibrate` has been called.
    """

    argument = "choice"
    domains = ("ccc",)
    in_order = True
    makes_corruptions = False
    length = LENGTH

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.options = parse_options(argument)
        chosen = dataclasses.asdict(self.options)
        self.provenance = {**self.provenance, **chosen}
        settings = {name: chosen[name] for name in ("difficulty", "speed", "seed")}
        settings["frost"] = self.provenance["frost"]
        self.name = f"{type(self).name}:" + ",".join(f"{k}={v}" for k, v in settings.items())
        self._itinerary: Itinerary | None = None
        self._accuracies: dict[str, str] = {}

    @property
    @abstractmethod
    def clean_labels(self) -> np.ndarray:
        """Labels ``[N]`` of the clean images."""

    @property
    @abstractmethod
    def clean_digest(self) -> str:
        """A SHA-256 that differs where the clean images differ."""

    @abstractmethod
    def clean(self, rows: np.ndarray) -> Tensor:
        """Return clean images ``[B, 3, S, S]`` (uint8), as the source model is tested on them."""

    @abstractmethod
    def cropped(self, rows: np.ndarray, positions: np.ndarray) -> Tensor:
        """Return clean images ``[B, 3, S, S]`` (uint8), flipped and cropped by their positions."""

    def stored(self, images: Tensor) -> Tensor:
        """Return images as they come out of the published files."""
        return images

    def calibrate(self, measure: Measure, calibrated_by: str) -> None:
        """Lay out the path as far as ``length`` reaches.

        Args:
            measure: the source model's accuracies.
            calibrated_by: SHA-256 of the source model's weights, for the records.
        """
        difficulty = DIFFICULTIES[self.options.difficulty]
        noted = partial(self._noted, measure)
        self._itinerary = Itinerary(difficulty, self.options.seed, noted)
        accuracy = self._itinerary.accuracy(-(-self.length // self.options.speed))
        self.provenance = {
            **self.provenance,
            "calibrated_by": calibrated_by,
            "calibrated_accuracy": round(accuracy, 2),
        }

    def _noted(self, measure: Measure, first: str, second: str) -> np.ndarray:
        accuracy = measure(first, second)
        digest = hashlib.sha256(np.ascontiguousarray(accuracy, "<f8").data).hexdigest()
        self._accuracies[f"{first} {second}"] = digest
        return accuracy

    def step(self, number: int) -> Step:
        """Return what happens to the images of one step."""
        if self._itinerary is None:
            raise UserError(
                f"the path of {self.name!r} depends on a source model; call calibrate() first"
            )
        return self._itinerary[number]

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self.clean_labels[self._rows(np.arange(self.length))]

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        clean = self.cropped(self._rows(indices), indices)
        steps = indices // self.options.speed
        for number in np.unique(steps):
            chosen = np.flatnonzero(steps == number)
            clean[chosen] = self.changed(clean[chosen], self.step(int(number)), indices[chosen])
        return clean

    def changed(self, images: Tensor, step: Step, ids: np.ndarray | Tensor) -> Tensor:
        """Return images ``[B, 3, S, S]`` (uint8) under the corruptions of a step."""
        for name, severity in step.corruptions:
            images = corrupt(
                images,
                name,
                severity,
                ids,
                self.options.seed,
                frost_textures=self.frost_textures,
            )
        return self.stored(images)

    def digest(self) -> str:
        facts = [self.name, self.clean_digest, *sorted(self._accuracies.items())]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def _rows(self, positions: np.ndarray) -> np.ndarray:
        """Return the clean image of each position: every step draws a sample of its own."""
        count, speed = len(self.clean_labels), self.options.speed
        rows = np.empty(len(positions), np.int64)
        passes = positions // speed * -(-speed // count) + positions % speed // count
        by_pass = np.argsort(passes, kind="stable")
        for chosen in np.split(by_pass, np.flatnonzero(np.diff(passes[by_pass])) + 1):
            order = _permutation(self.options.seed, int(passes[chosen[0]]), count)
            rows[chosen] = order[positions[chosen] % speed % count]
        return rows

    def _random(self, positions: np.ndarray) -> ImageRandom:
        return ImageRandom(torch.from_numpy(positions), "ccc_crop", 1, self.options.seed)


@lru_cache(maxsize=4)
def _permutation(seed: int, number: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, number, count]).permutation(count)


class CccImageNet(ContinuallyChanging):
    """``ccc``: CCC on the validation images of ImageNet, flipped and randomly cropped to 224.

    Below the data folder: ``imagenet/val/<wnid>/*.JPEG``.
    """

    name = "ccc"
    facts = DatasetFacts(
        "CCC",
        1000,
        LENGTH,
        "non-commercial research, on registration (ImageNet)",
        "https://github.com/oripress/CCC",
        get="imagenet",
        metric="accuracy",
    )
    sizing = "backbone"
    benchmark = ON_IMAGENET

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._validation = ImageNetValidation("", data_dir)
        self._validation.image_size = (SIDE, SIDE)
        self.class_names = self._validation.class_names

    @property
    def clean_labels(self) -> np.ndarray:
        return self._validation.labels("val", NATURAL)

    @property
    def clean_digest(self) -> str:
        return self._validation.digest()

    def clean(self, rows: np.ndarray) -> Tensor:
        return self._validation.images("val", NATURAL, rows)

    def cropped(self, rows: np.ndarray, positions: np.ndarray) -> Tensor:
        draws = self._random(positions).uniform(RandomCrop.DRAWS).tolist()
        images = [
            read_image(
                self._validation.file("val", NATURAL, int(row)),
                (SIDE, SIDE),
                RandomCrop(draw),
                self._validation.cure,
                published=True,
            )
            for row, draw in zip(rows, draws, strict=True)
        ]
        return torch.stack(images)

    def stored(self, images: Tensor) -> Tensor:
        return as_jpeg(images, _STORED_QUALITY)

    def fitted(self, images: Tensor) -> Tensor:
        return resized_or_fitted(images, self.image_size, self.resizing, type(self).resizing)

    def shown(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.images(domain, severity, indices)

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return frozenset({(SIDE, SIDE)})

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.fitted(super().images(domain, severity, indices))

    def moved(self, domain: str, severity: int, indices: np.ndarray, shift: np.ndarray) -> Tensor:
        return self.fitted(shifted(super().images(domain, severity, indices), shift))

    def faults(
        self, domains: tuple[str, ...], severities: tuple[int, ...], probes: int | None = None
    ) -> Iterator[UserError]:
        yield from self._validation.faults(("val",), (NATURAL,), probes)


class _CccCifar(ContinuallyChanging):
    """CIFAR test images, flipped, padded by 4 and cropped, as nets are trained on them.

    The authors publish no such stream: everything else is as for ImageNet, but that images are
    not stored as JPEG files, which those of CIFAR-10-C are not either.
    """

    edition: Edition

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._clean = read_split(self.edition, "test", data_dir, self.fault)

    @property
    def clean_labels(self) -> np.ndarray:
        return self._clean.labels

    @cached_property
    def clean_digest(self) -> str:
        arrays = (self._clean.images, self._clean.labels)
        return hashlib.sha256(b"".join(np.ascontiguousarray(a).data for a in arrays)).hexdigest()

    def clean(self, rows: np.ndarray) -> Tensor:
        return take_rows(self._clean.images, rows)

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return frozenset({self._clean.images.shape[1:3]})

    def cropped(self, rows: np.ndarray, positions: np.ndarray) -> Tensor:
        return padded_crops(take_rows(self._clean.images, rows), self._random(positions))


_CIFAR = {"licence": "research use; none is given", "origin": "https://github.com/oripress/CCC"}


class CccCifar10(_CccCifar):
    """``ccc-cifar10``: CCC on the test images of CIFAR-10."""

    name = "ccc-cifar10"
    facts = DatasetFacts("CCC, CIFAR-10", 10, LENGTH, **_CIFAR, get="cifar10", metric="accuracy")
    edition = CIFAR10
    benchmark = ON_CIFAR10


class CccCifar100(_CccCifar):
    """``ccc-cifar100``: CCC on the test images of CIFAR-100."""

    name = "ccc-cifar100"
    facts = DatasetFacts("CCC, CIFAR-100", 100, LENGTH, **_CIFAR, get="cifar100", metric="accuracy")
    edition = CIFAR100
    benchmark = ON_CIFAR100
