"""DRM against a single head, the shared head and the uniform ensemble, one domain left out.

    TTA_TEST_ASSETS=/path/to/data python benchmarks/drm.py

trains every source model from three seeds, on one thread, and writes results/drm.md. Rotated
digits come with the package; PACS and MNIST / USPS / MNIST-M are read below $TTA_TEST_ASSETS and
left out with a note where that is not set.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms.functional import resize
from tqdm import tqdm

from tta.backbones.backbone import Backbone
from tta.datasets import Dataset, leaves_one_out, open_dataset
from tta.datasets.rotated_digits import ANGLES, RotatedDigits
from tta.datasets.subset import Subset, split_validation
from tta.experiment.figures import figures
from tta.experiment.observing.recorder import Recorder
from tta.foundation.files import write_atomically
from tta.methods import find_method
from tta.reporting.tables import markdown
from tta.source.recipe import Recipe
from tta.source.training import initial_backbone, train
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.loop import evaluate
from tta.streams.stream import Batch, Stream

SEEDS = (0, 1, 2)
BATCH_SIZE = 32
ENSEMBLES = {
    "uniform ensemble": {"gamma": 0},
    "ensemble, gamma 0.5": {"gamma": 0.5},
    "ensemble, gamma 1": {"gamma": 1},
    "ensemble, gamma 5": {"gamma": 5},
    "least entropy per sample": {"gamma": -1},
    "least entropy per batch": {"rule": "entropy"},
    "nearest mean, cosine": {"rule": "cosine"},
    "nearest mean, L2": {"rule": "lp"},
    "discriminator": {"rule": "discriminator"},
    "discriminator mix": {"rule": "discriminator_mix"},
    "compat: cosine": {"rule": "cosine", "compat": True},
    "compat: ensemble, gamma 1": {"gamma": 1, "compat": True},
}
GRID = {
    "pseudo_labels": ("drm", "own", "last", "uniform"),
    "alpha": (0.1, 1.0, 10.0),
    "confidence": (0.75, 0.25),
    "gamma": (1,),
}
FULL_ALPHAS = (0.1, 1.0)


@dataclass(frozen=True)
class Benchmark:
    """Domains to leave out one by one, and how the source models are trained.

    Attributes:
        title: heading of its table.
        dataset: of all domains; rotated digits take the left-out domain after a colon.
        held_out: domains to leave out.
        backbone: architecture.
        recipe: of the training.
        weights: pretrained weights, or None.
        image_size: that image files are read at, or None.
    """

    title: str
    dataset: str
    held_out: tuple[str, ...]
    backbone: str
    recipe: Recipe
    weights: str | None = None
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Cell:
    """What one left-out domain and seed gave: accuracy by row, and what was chosen."""

    title: str
    held_out: str
    seed: int
    accuracy: dict[str, float]
    chosen: str


class FeatureStream:
    """A data set's features in the order of a stream: frozen networks compute them once."""

    def __init__(self, backbone: Backbone, dataset: Dataset, seed: int) -> None:
        stream = _stream(dataset, seed)
        self.plan = stream.plan
        self.labels = stream.labels()
        with torch.no_grad():
            self.batches = [
                dataclasses.replace(batch, images=backbone.features(batch.images))
                for batch in stream
            ]

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def main() -> None:
    """Run every benchmark and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("digits-r", "digits", "pacs"), help="one benchmark")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument(
        "--cells", type=Path, help="file of finished cells: an interrupted run continues from it"
    )
    parser.add_argument("--output", type=Path, default=Path("results/drm.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen = benchmarks(Path(folder))
        chosen = {name: chosen[name] for name in chosen if options.only in (None, name)}
        wanted = [
            (benchmark, held_out, seed)
            for benchmark in chosen.values()
            for held_out in benchmark.held_out
            for seed in SEEDS[: options.seeds]
        ]
        cells = measure(wanted, options.workers, options.cells or Path(folder, "cells.jsonl"))
    sections = [section(benchmark, cells) for benchmark in chosen.values()]
    write_atomically(options.output, report(sections, SEEDS[: options.seeds]))


def measure(wanted: Sequence[tuple[Benchmark, str, int]], workers: int, file: Path) -> list[Cell]:
    """Return every wanted cell; those that ``file`` lacks are run and added to it."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    cells = {(cell.title, cell.held_out, cell.seed): cell for cell in map(_parsed, lines)}
    keys = [(benchmark.title, held_out, seed) for benchmark, held_out, seed in wanted]
    initial = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with ProcessPoolExecutor(workers, get_context("spawn"), **initial) as pool:
        running = [
            pool.submit(run, *cell)
            for cell, key in zip(wanted, keys, strict=True)
            if key not in cells
        ]
        for future in tqdm(as_completed(running), total=len(running)):
            cell = future.result()
            cells[cell.title, cell.held_out, cell.seed] = cell
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(dataclasses.asdict(cell)) + "\n")
    return [cells[key] for key in keys]


def _parsed(line: str) -> Cell:
    return Cell(**json.loads(line))


def benchmarks(folder: Path) -> dict[str, Benchmark]:
    """Return the benchmarks whose data is there."""
    found = {
        "digits-r": Benchmark(
            "Rotated digits",
            "digits-r",
            ANGLES,
            RotatedDigits.benchmark.backbone,
            Recipe(steps=150),
        )
    }
    assets = os.environ.get("TTA_TEST_ASSETS")
    if not assets:
        print("TTA_TEST_ASSETS is not set: rotated digits alone", file=sys.stderr)
        return found
    specification, names = three_digits(Path(assets, "data", "digits"), folder / "digits.npz")
    title = "MNIST / USPS / MNIST-M, 2,000 images each at 32 px"
    found["digits"] = Benchmark(title, specification, names, "test_resnet", Recipe(steps=150))
    with zipfile.ZipFile(Path(assets, "data", "pacs", "images.zip")) as archive:
        archive.extractall(folder / "pacs")
    found["pacs"] = Benchmark(
        "PACS, 280 images per domain at 96 px, MobileNetV1 0.75 from ImageNet",
        f"folder:{folder / 'pacs'}",
        ("art_painting", "cartoon", "photo", "sketch"),
        "mobilenetv1_075",
        Recipe(steps=25, lr=1e-3),
        str(Path(assets, "weights", "mobilenetv1_075_224_imagenet_timm.safetensors")),
        (96, 96),
    )
    return found


def three_digits(folder: Path, file: Path) -> tuple[str, tuple[str, ...]]:
    """Write the three digit sets as one file; return its specification and its domains.

    MNIST-M's test images are made from MNIST's test images, so MNIST gives training images.
    """
    keys = {"mnist": "train_", "usps": "", "mnist_m": ""}
    images, labels = [], []
    for name, key in keys.items():
        with np.load(folder / f"{name}{'_test2000' * (name == 'mnist_m')}.npz") as arrays:
            raw = torch.from_numpy(arrays[f"{key}images"][:2000]).permute(0, 3, 1, 2)
            images.append(resize(raw, [32, 32], antialias=True).expand(-1, 3, -1, -1))
            labels.append(arrays[f"{key}labels"][:2000])
    np.savez(
        file,
        images=torch.cat(images).permute(0, 2, 3, 1).numpy(),
        labels=np.concatenate(labels),
        domains=np.repeat(np.arange(len(keys)), 2000),
        names=np.array(list(keys)),
    )
    return f"arrays:{file}", tuple(keys)


def section(benchmark: Benchmark, cells: Sequence[Cell]) -> str:
    """Return the table of one benchmark."""
    results: dict[str, dict[str, list[float]]] = {}
    chosen: dict[str, list[str]] = {}
    for cell in (cell for cell in cells if cell.title == benchmark.title):
        chosen.setdefault(cell.held_out, []).append(cell.chosen)
        for row, accuracy in cell.accuracy.items():
            results.setdefault(row, {}).setdefault(cell.held_out, []).append(accuracy)
    rows = [[row, *_cells(by_domain)] for row, by_domain in results.items()]
    table = markdown(["left out", *benchmark.held_out, "mean"], rows)
    choices = "\n".join(f"- {domain}: {'; '.join(found)}" for domain, found in chosen.items())
    recipe = ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(benchmark.recipe).items())
    return (
        f"## {benchmark.title}\n\nBackbone {benchmark.backbone}; {recipe} and up.\n\n{table}\n\n"
        f"Chosen on source validation, by domain left out and seed:\n\n{choices}\n"
    )


def _cells(by_domain: dict[str, list[float]]) -> list[str]:
    per_seed = np.array(list(by_domain.values()))
    columns = [*per_seed, per_seed.mean(0)]
    return [f"{100 * column.mean():.1f} ± {100 * column.std():.1f}" for column in columns]


def run(benchmark: Benchmark, held_out: str, seed: int) -> Cell:
    """Train without one domain, and return the accuracy of every variant on it."""
    source, target = leave_out(benchmark, held_out)
    recipe = dataclasses.replace(benchmark.recipe, seed=seed)
    training, validation = split_validation(source, recipe.validation_fraction, seed)
    found = {}
    erm = _trained(benchmark, training, dataclasses.replace(recipe, drm=False))
    found["ERM, single head"] = _on_features(erm, target, seed)("source", {})
    drm = _trained(benchmark, training, recipe)
    test = _on_features(drm, target, seed)
    found["shared head"] = test("source", {})
    for row, values in ENSEMBLES.items():
        found[row] = test("drm", {"adapt": "none", **values})
    validate = _on_features(drm, validation, seed)
    grid = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    grid = [{**values, "lr_train": recipe.lr} for values in grid]
    best = max(grid, key=lambda values: validate("drm", values))  # the first of equals
    found["DRM, chosen on source validation"] = test("drm", best)
    full = [{**best, "adapt": "all", "alpha": alpha} for alpha in FULL_ALPHAS]
    best_full = max(full, key=lambda values: _on_images(drm, validation, seed, values))
    found["DRMFull, alpha chosen likewise"] = _on_images(drm, target, seed, best_full)
    found["DRM, best of grid on test (oracle)"] = max(test("drm", values) for values in grid)
    chosen = " ".join(f"{key}={best[key]}" for key in GRID)
    chosen += f" (DRMFull alpha={best_full['alpha']})"
    return Cell(benchmark.title, held_out, seed, found, chosen)


def leave_out(benchmark: Benchmark, held_out: str) -> tuple[Dataset, Dataset]:
    """Return the source domains and the target domain."""
    if leaves_one_out(benchmark.dataset):
        target = open_dataset(f"{benchmark.dataset}:{held_out}")
        return open_dataset(target.benchmark.source), target
    whole = open_dataset(benchmark.dataset)
    whole.image_size = benchmark.image_size
    others = {domain: None for domain in whole.domains if domain != held_out}
    return Subset(whole, others), Subset(whole, {held_out: None})


def _trained(benchmark: Benchmark, training: Dataset, recipe: Recipe) -> Backbone:
    arguments = benchmark.backbone, training.num_classes, benchmark.weights, recipe.seed
    backbone = initial_backbone(*arguments)
    train(backbone, training, recipe)
    return backbone


def _on_features(backbone: Backbone, dataset: Dataset, seed: int) -> Any:
    """Return a function from method and values to accuracy over the data set's features."""
    stream = FeatureStream(backbone, dataset, seed)
    frozen = backbone.clone()
    frozen.features = lambda features: features
    return lambda name, values: _accuracy(frozen, stream, stream.labels, name, values)


def _on_images(backbone: Backbone, dataset: Dataset, seed: int, values: dict[str, Any]) -> float:
    stream = _stream(dataset, seed)
    return _accuracy(backbone, stream, stream.labels(), "drm", values)


def _stream(dataset: Dataset, seed: int) -> Stream:
    plan = plan_stream("reset_each_shift", dataset, ScenarioOptions(seed=seed))
    return Stream(dataset, plan, BATCH_SIZE, memory_format=torch.channels_last)


def _accuracy(
    backbone: Backbone,
    stream: Stream | FeatureStream,
    labels: np.ndarray,
    name: str,
    values: dict[str, Any],
) -> float:
    method_class = find_method(name)
    method = method_class(backbone.clone(), method_class.Params(**values))
    method.start()
    recorder = Recorder(stream.plan, labels, method.outputs)
    evaluate(method, stream, recorder)
    recorder.close()
    return figures(recorder.domains())["mean_accuracy"]


def report(sections: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the whole file."""
    grid = ", ".join(f"{key} {list(values)}" for key, values in GRID.items())
    head = (
        "# DRM\n\n`python benchmarks/drm.py`\n\n"
        "Accuracy in % on the domain left out of training, mean ± standard deviation over seeds "
        f"{', '.join(map(str, seeds))}; batch {BATCH_SIZE}, predictions before the update; torch "
        f"{torch.__version__}, one thread.\n\n"
        "All rows but the first use one network: a head per source domain and a shared one. "
        "Hyper-parameters of adaptation are chosen on the held-out part of the source domains, "
        f"over {grid}; the row marked oracle takes the best of the same grid on the test labels, "
        "and is no result.\n"
    )
    return "\n".join([head, *sections])


if __name__ == "__main__":
    main()
