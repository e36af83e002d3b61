"""Soups beside their ingredients; signatures by their bytes; rws and atlas beside bn, on digits.

    python benchmarks/seed_weights.py      # some minutes of one core; results/seed_weights.md

trains all it needs from seeds, on the source scans, and keeps no weights. Test images are those of
digits-c, made once; methods see the fifteen corruptions in their order, without a reset.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.datasets import Dataset
from tta.datasets.digits import WEIGHTS, CorruptedDigits, SourceDigits, load_digits_rgb, split_rows
from tta.datasets.images import to_unit_range
from tta.datasets.subset import Subset, split_validation
from tta.foundation.files import write_atomically
from tta.methods import find_method
from tta.reporting.tables import markdown
from tta.source.alike import check_networks, mean_cosine
from tta.source.fisher import fisher_diagonal
from tta.source.merging import average, fisher_merge, greedy_soup
from tta.source.moments import input_moments
from tta.source.recipe import Recipe
from tta.source.source_data import SourceData
from tta.source.statistics import estimate_statistics
from tta.source.training import accuracy, initial_backbone, train
from tta.source.twins import CLEAN, CorruptedSource, train_twin
from tta.source.weight_vector_files import save_vectors
from tta.source.weight_vectors import SOURCE, WeightVectors, difference, first_layers, signature

OUTPUT = Path("results/seed_weights.md")
BATCH = 64
HELD_OUT = 0.2
BASE = Recipe(drm=False, steps=60, batch_size=BATCH, lr=3e-3)
"""Of the weights that all ingredients of a soup start from."""
INGREDIENTS = (
    *((150, 3e-3, 1), (150, 1e-3, 2), (150, 3e-4, 3)),
    *((300, 1e-3, 4), (60, 5e-3, 5), (100, 2e-3, 6)),
)
"""Steps, learning rate and seed of the order of each."""
TWIN = Recipe(drm=False, steps=100, batch_size=BATCH, lr=1e-3)
FILES = ((7, 32), (7, 8), (7, 4), (7, 2), (None, 32), (None, 4))
"""First layers that signatures are of, or all, and bits of each value."""
OF_SOUPS = (
    "Four of six networks are equal on the held-out scans, so that these choose little. Running "
    "statistics estimated anew are worth half a point to three points under corruption; with them"
    " the greedy soup is the only one that is no worse there than its best ingredient."
)
"""What one learns from the first table."""
OF_SIGNATURES = (
    "Statistics of batch-norm inputs tell these corruptions apart as well as their names do, and "
    "least entropy nearly so. Eight bits are as good as 32, and four lose a tenth of a point for "
    "a seventh of the bytes."
)
"""From the second."""
OF_METHODS = (
    "Signatures want statistics that go with them, as the paper estimates them anew: where the "
    "source's weigh 0.9, they are worse than none, which is bn_alpha. At the published rate and "
    "loss aTLAS stays at bn in so short a stream; entropy, ten times the rate, and no mirrored "
    "crops, which make other digits of some, each help."
)
"""From the third."""
FEW = 256
"""Scans per corruption that methods are shown: one of them takes a pass for every signature."""


@dataclass(frozen=True)
class Images:
    """Test images by corruption, in an order that is drawn once.

    Attributes:
        clean: uint8 ``[N, 3, 32, 32]``.
        corrupted: the same under each corruption.
        labels: ``[N]``.
    """

    clean: Tensor
    corrupted: dict[str, Tensor]
    labels: Tensor

    def few(self, count: int) -> Images:
        """Return the first of them, of every corruption."""
        first = {name: part[:count] for name, part in self.corrupted.items()}
        return Images(self.clean[:count], first, self.labels[:count])


def main() -> None:
    """Train, measure, and write the file."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    images = test_images()
    clean = SourceDigits()
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for part in (soups(clean, images), *signatures(clean, images.few(FEW), Path(folder))):
            print(part, flush=True)
            parts.append(part)
    minutes = (time.perf_counter() - began) / 60
    heading = (
        "# Systems in weight space, on digits\n\n`python benchmarks/seed_weights.py`, "
        f"{minutes:.0f} minutes of one core beside other programs. Accuracies in %, the mean over "
        f"digits-c's fifteen corruptions at severity 5; batches of {BATCH}.\n"
    )
    write_atomically(OUTPUT, "\n".join([heading, *parts]))


def test_images() -> Images:
    """Return the test images, shuffled."""
    rows = torch.from_numpy(split_rows(source=False))
    scans, labels = load_digits_rgb()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    data = CorruptedDigits()
    corrupted = {
        name: data.images(name, 5, order.numpy()) for name in tqdm(data.domains, desc="corrupting")
    }
    chosen = rows[order]
    return Images(scans[chosen], corrupted, torch.from_numpy(labels)[chosen])


@torch.no_grad()
def share_right(backbone: Backbone, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy in %."""
    outputs = [backbone(to_unit_range(part)) for part in images.split(BATCH)]
    return 100 * (torch.cat(outputs).argmax(1) == labels).float().mean().item()


def figures(backbone: Backbone, images: Images) -> list[str]:
    """Return the accuracy on clean and on corrupted images, as text."""
    corrupted = [share_right(backbone, part, images.labels) for part in images.corrupted.values()]
    clean = share_right(backbone, images.clean, images.labels)
    return [f"{clean:.2f}", f"{sum(corrupted) / len(corrupted):.2f}"]


class Judge:
    """Holds merged weights, and says how good they are on the validation part."""

    def __init__(self, base: Backbone, training: Dataset, validation: Dataset) -> None:
        self.scratch, self.training, self.validation = base.clone(), training, validation

    def load(self, state: dict[str, Tensor], estimate: bool = False) -> Backbone:
        """Return the network with these weights."""
        self.scratch.model.load_state_dict(state)
        if estimate:
            estimate_statistics(self.scratch, images_of(self.training))
        return self.scratch

    def __call__(self, state: dict[str, Tensor], estimate: bool = False) -> float:
        return accuracy(self.load(state, estimate), self.validation)


def images_of(dataset: Dataset, count: int | None = None) -> Iterator[Tensor]:
    """Yield batches of images of a data set, all or ``count``."""
    data = SourceData(dataset, BATCH)
    return data.first_images(count or len(data))


def soups(clean: Dataset, images: Images) -> str:
    """Return the table of ingredients and of what they were merged to."""
    training, validation = split_validation(clean, HELD_OUT)
    base = initial_backbone("test_resnet", clean.num_classes, seed=0)
    train(base, training, BASE)
    networks = []
    for steps, lr, seed in tqdm(INGREDIENTS, desc="ingredients"):
        network = base.clone()
        recipe = Recipe(drm=False, steps=steps, batch_size=BATCH, lr=lr, seed=seed)
        train(network, training, recipe)
        networks.append(network)
    judge = Judge(base, training, validation)
    states = [network.model.state_dict() for network in networks]
    check_networks({str(number): network for number, network in enumerate(networks)})
    found = [accuracy(network, validation) for network in networks]
    rows = [
        [f"{steps} steps at {lr:g}", f"{100 * held:.2f}", *figures(network, images)]
        for (steps, lr, _), held, network in zip(INGREDIENTS, found, networks, strict=True)
    ]
    for name, state, estimate in merged(judge, networks, states, found):
        held = 100 * judge(state, estimate)
        rows.append([name, f"{held:.2f}", *figures(judge.scratch, images)])
    cosine = mean_cosine(states[0], states[-1])
    text = (
        "## Soups\n\nSix networks trained from one that had 60 steps, and means of their weights. "
        f"Held-out: {len(validation.labels('clean', 0))} source scans, by which the greedy soup "
        "chooses; clean and corrupted: 897 test scans. Mean cosine of the first and the last "
        f"network's matrices: {cosine:.2f}. {OF_SOUPS}\n\n"
    )
    return text + markdown(["weights", "held-out", "clean", "corrupted"], rows) + "\n"


def merged(
    judge: Judge, networks: Sequence[Backbone], states: list[Any], found: list[float]
) -> Iterator[tuple[str, dict[str, Tensor], bool]]:
    """Yield the name of every way, the weights, and whether statistics are estimated anew."""
    uniform = average(states)
    yield "uniform soup", uniform, False
    yield "uniform soup, statistics anew", uniform, True
    greedy = greedy_soup(states, found, judge)
    yield f"greedy soup of {len(greedy.members)}", greedy.state, False
    anew = greedy_soup(states, found, partial(judge, estimate=True))
    yield f"greedy soup of {len(anew.members)}, statistics anew", anew.state, True
    matter = [fisher_diagonal(one, images_of(judge.training, 128)) for one in networks]
    fisher = fisher_merge(states, matter)
    yield "Fisher-weighted mean", fisher, False
    yield "Fisher-weighted mean, statistics anew", fisher, True


def signatures(clean: Dataset, images: Images, folder: Path) -> Iterator[str]:
    """Yield the tables of signatures by their bits, and of methods."""
    start = create_backbone("test_resnet", weights=WEIGHTS, num_classes=clean.num_classes)
    shown = CorruptedSource(clean)
    names = list(images.corrupted)
    twins = {
        name: train_twin(start, Subset(shown, {name: None}), name, TWIN)
        for name in tqdm((CLEAN, *names), desc="twins")
    }
    moments = {
        SOURCE if name == CLEAN else name: input_moments(
            start, images_of(Subset(shown, {name: None}))
        )
        for name in tqdm((CLEAN, *names), desc="moments")
    }
    files = {}
    rows = []
    for layers, bits in FILES:
        found = _signatures(start, twins, first_layers(start.model, layers), moments)
        file = files[layers, bits] = str(folder / f"{layers}-{bits}.safetensors")
        size = save_vectors(Path(file), WeightVectors(found.vectors), bits) / len(names)
        save_vectors(Path(file), found, bits)
        row = [str(layers or "all"), str(bits), f"{size / 1024:.1f}"]
        rows.append([*row, *_chosen(start, file, images)])
        print(rows[-1], flush=True)
    header = ["layers", "bits", "KiB each", "least entropy", "nearest statistics", "named"]
    yield (
        "## Robust weight signatures\n\nOf fifteen corruptions, from twins of the shipped source "
        f"model ({WEIGHTS.stat().st_size / 1024:.0f} KiB) that had 100 steps each on clean or "
        "corrupted source scans; and how accurate the patched model is, with the batch's "
        f"statistics, on {FEW} scans of each corruption, by what chooses the signature. Named: the "
        f"stream's corruption is told, which no run does. {OF_SIGNATURES}\n\n"
        + markdown(header, rows)
        + "\n"
    )
    tasks = folder / "tasks.safetensors"
    own = {name: twins[name].model.state_dict() for name in names}
    before = start.model.state_dict()
    keys = first_layers(start.model, None)
    save_vectors(tasks, WeightVectors({n: difference(before, own[n], keys) for n in names}))
    yield methods(start, twins, files[7, 32], files[None, 32], str(tasks), images)


def _signatures(
    start: Backbone, twins: dict[str, Backbone], keys: list[str], moments: dict[str, Any]
) -> WeightVectors:
    states = {name: twin.model.state_dict() for name, twin in twins.items()}
    standard = states.pop(CLEAN)
    before = start.model.state_dict()
    vectors = {name: signature(before, standard, state, keys) for name, state in states.items()}
    return WeightVectors(vectors, moments, start.weights_sha256)


def _chosen(start: Backbone, file: str, images: Images, **params: Any) -> list[str]:
    """Return the accuracy of rws by least entropy, nearest statistics, and told the corruption."""
    given = {"signatures": file, **params}
    kinds = [{}, {"choice": "statistics"}]
    found = [_course(start, "rws", {**given, **kind}, images) for kind in kinds]
    return [*found, _oracle(start, file, images, **params)]


def _course(start: Backbone, name: str, params: dict[str, Any], images: Images) -> str:
    """Return the mean online accuracy over the corruptions, as text."""
    return f"{_mean(_course_by_domain(start, name, params, images)):.2f}"


def _course_by_domain(
    start: Backbone, name: str, params: dict[str, Any], images: Images
) -> list[float]:
    kind = find_method(name)
    method = kind(start.clone(), kind.Params(**params), seed=0)
    method.start()
    return [_online(method, part, images.labels) for part in images.corrupted.values()]


def _online(method: Any, images: Tensor, labels: Tensor) -> float:
    outputs = [method.step(to_unit_range(part)) for part in images.split(BATCH)]
    return 100 * (torch.cat(outputs).argmax(1) == labels).float().mean().item()


def _oracle(start: Backbone, file: str, images: Images, **params: Any) -> str:
    """Return the accuracy where each corruption's own signature is named."""
    found = []
    for name, part in images.corrupted.items():
        one = Images(images.clean, {name: part}, images.labels)
        given = {"signatures": file, "signature": name, **params}
        found += _course_by_domain(start, "rws", given, one)
    return f"{_mean(found):.2f}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def methods(
    start: Backbone,
    twins: dict[str, Backbone],
    first: str,
    whole: str,
    tasks: str,
    images: Images,
) -> str:
    """Return the table of methods."""
    one = partial(_course, start, images=images)
    rows = [[name, one(name, params)] for name, params in PLAIN]
    for words, file in (("7 layers", first), ("all layers", whole)):
        found = _chosen(start, file, images, target_weight=0.1)
        ways = ("least entropy", "nearest statistics", "named")
        rows += [
            [f"rws, {words}, target weight 0.1, {way}", value]
            for way, value in zip(ways, found, strict=True)
        ]
    for params in ATLAS:
        said = ", ".join(f"{name} {value}" for name, value in params.items())
        rows.append([f"atlas, {said or 'defaults'}", one("atlas", {"vectors": tasks, **params})])
    for name, kept in (("bn", "the batch's statistics"), ("source", "its own statistics")):
        found = []
        for corruption, part in images.corrupted.items():
            alone = Images(images.clean, {corruption: part}, images.labels)
            found += _course_by_domain(twins[corruption], name, {}, alone)
        rows.append([f"each corruption's own twin, {kept}", f"{_mean(found):.2f}"])
    return "## Methods\n\n" + ABOUT + "\n\n" + markdown(["method", "corrupted"], rows) + "\n"


PLAIN = (("source", {}), ("bn", {}), ("bn_alpha", {}), ("tent", {}))
ATLAS = (
    {},
    {"lr": 1e-2},
    {"lr": 1e-2, "flip": False},
    {"lr": 1e-2, "flip": False, "threshold": 0.9},
    {"loss": "entropy"},
    {"loss": "entropy", "lr": 1e-2},
)
ABOUT = (
    f"{FEW} scans of each of the fifteen corruptions, one after another, without a reset. "
    "The twins' rows are networks that were trained on "
    "the corruption at hand, which nothing at test time is told. Signatures and task vectors are "
    f"of the same corruptions as the stream's, and of other images. {OF_METHODS}"
)

if __name__ == "__main__":
    main()
