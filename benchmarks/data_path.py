"""How fast images reach the model, by route, beside the usual way of the field's code.

    python benchmarks/data_path.py

makes pictures in a temporary folder, reads them by every route as float32 batches in [0, 1] in host
memory, and writes results/data_path.md. The usual way is a list of Pillow images, or a folder of
JPEG files, behind ToTensor in a torch DataLoader that collates single images.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from tqdm import trange

from tta.datasets import Dataset, open_dataset
from tta.datasets.decoded_cache import open_cache_folder
from tta.datasets.imagenet import ImageNetValidation, imagenet_classes
from tta.reporting.tables import markdown
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream

OUTPUT = Path("results/data_path.md")
ROUNDS = 3
SMALL, LARGE = 10_000, 256
GENERATED = {32: 100, 224: 4}
BATCH = {32: 200, 224: 64}
CORRUPTION = "fog"


@dataclass
class Route:
    """One way to the model.

    Attributes:
        title: for the table.
        side: of the images in pixels.
        read: returns the batches.
        seconds: for all images, one per round.
        images: how many there are.
    """

    title: str
    side: int
    read: Callable[[], Iterable[torch.Tensor]]
    seconds: list[float] = field(default_factory=list)
    images: int = 0

    def time(self) -> None:
        """Read every image once."""
        started = time.perf_counter()
        self.images = sum(len(batch) for batch in self.read())
        self.seconds.append(time.perf_counter() - started)

    @property
    def rate(self) -> float:
        """Images per second, by the median round."""
        return self.images / statistics.median(self.seconds)


def write_data(root: Path) -> None:
    """Write CIFAR-10-C's file of one corruption, CIFAR-10's test batch and JPEG files."""
    rng = np.random.default_rng(0)
    (root / "CIFAR-10-C").mkdir()
    labels = np.tile(np.arange(SMALL) % 10, 5).astype(np.uint8)
    np.save(root / "CIFAR-10-C" / "labels.npy", labels)
    images = rng.integers(0, 256, (5 * SMALL, 32, 32, 3), np.uint8)
    np.save(root / "CIFAR-10-C" / f"{CORRUPTION}.npy", images)
    np.savez(root / "arrays.npz", images=images[:SMALL], labels=labels[:SMALL])
    (root / "cifar-10-batches-bin").mkdir()
    records = np.c_[labels[:SMALL], images[:SMALL].reshape(SMALL, -1)]
    (root / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(records.tobytes())
    classes = imagenet_classes()
    for number in range(LARGE):
        folder = root / "imagenet" / "val" / classes[number % 8]
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        image = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.float64)
        image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        Image.fromarray(image).save(folder / name, quality=90)


def stream(dataset: Dataset, side: int, workers: int = 0, **options: object) -> Stream:
    """Return a shuffled stream of a data set."""
    dataset.image_size = (side, side)
    plan = plan_stream("continual", dataset, ScenarioOptions(**options))
    return Stream(dataset, plan, BATCH[side], workers=workers)


def batches(made: Stream) -> Iterable[torch.Tensor]:
    """Yield the images of a stream."""
    return (batch.images for batch in made)


def usual(samples: object, side: int, workers: int) -> Iterable[torch.Tensor]:
    """Yield batches of single images, collated by torch's loader."""
    loader = DataLoader(samples, BATCH[side], shuffle=True, num_workers=workers)
    return (images for images, _ in loader)


class PillowList(torch.utils.data.Dataset):
    """Pillow images in a list, made float32 one by one."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = [Image.fromarray(image) for image in images]
        self.transform = transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[number]), 0


def routes(root: Path) -> list[Route]:
    """Return every route over the data below ``root``."""
    small = {"domains": (CORRUPTION,), "severity": 5}
    mapped = open_dataset("cifar10-c", root)
    memory = open_dataset(f"arrays:{root}/arrays.npz")
    generated = open_dataset("cifar10-c@gen", root)
    large = open_dataset("imagenet-c-full@gen", root)
    pillow = PillowList(np.load(root / "arrays.npz")["images"])
    made = [
        Route("memory-mapped .npy (cifar10-c)", 32, partial(_read, mapped, 32, 0, **small)),
        Route("arrays in memory (arrays:)", 32, partial(_read, memory, 32, 0)),
        *(
            Route(
                f"corrupted on the fly, {GENERATED[32]} images x 15 (cifar10-c@gen), {n} workers",
                32,
                partial(_read, generated, 32, n, num_samples=GENERATED[32]),
            )
            for n in (0, 2)
        ),
        *(
            Route(f"usual: list of Pillow images, {n} workers", 32, partial(usual, pillow, 32, n))
            for n in (0, 2)
        ),
    ]
    folder, cached = (ImageNetValidation("", root) for _ in range(2))
    cached.decoded_cache = open_cache_folder(str(root / "cache"))
    transform = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    )
    files = datasets.ImageFolder(root / "imagenet" / "val", transform)
    made += [
        *(
            Route(f"JPEG files (imagenet), {n} workers", 224, partial(_read, folder, 224, n))
            for n in (0, 1, 2)
        ),
        Route("the same files, decoded cache, filled", 224, partial(_read, cached, 224, 0)),
        *(
            Route(
                f"corrupted on the fly, {GENERATED[224]} images x 15 (imagenet-c-full@gen), {n} "
                "workers",
                224,
                partial(_read, large, 224, n, num_samples=GENERATED[224]),
            )
            for n in (0, 2)
        ),
        *(
            Route(f"usual: JPEG files, {n} workers", 224, partial(usual, files, 224, n))
            for n in (0, 2)
        ),
    ]
    return made


def _read(dataset: Dataset, side: int, workers: int, **options: object) -> Iterable[torch.Tensor]:
    return batches(stream(dataset, side, workers, **options))


def setup_seconds(root: Path) -> tuple[float, float]:
    """Return seconds to open CIFAR-10-C's file as a map, and as a list of float32 images."""
    started = time.perf_counter()
    data = open_dataset("cifar10-c", root)
    data.check((CORRUPTION,), (5,))
    mapped = time.perf_counter() - started
    started = time.perf_counter()
    array = np.load(root / "CIFAR-10-C" / f"{CORRUPTION}.npy")[-SMALL:]
    list(array.astype(np.float32) / 255)
    return mapped, time.perf_counter() - started


def main() -> None:
    """Measure, and write the report."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_data(root)
        made = routes(root)
        for route in made:
            route.time()
            route.seconds.clear()
        for number in trange(ROUNDS, desc="rounds"):
            shift = number * len(made) // ROUNDS
            for route in made[shift:] + made[:shift]:
                route.time()
        opened = [setup_seconds(root) for _ in range(ROUNDS)]
    mapped, listed = (1000 * statistics.median(column) for column in zip(*opened, strict=True))
    rows = [[str(route.side), route.title, f"{route.rate:.0f}"] for route in made]
    text = (
        "# The path to the model\n\n`python benchmarks/data_path.py`\n\n"
        f"Images per second by wall clock, median of {ROUNDS} interleaved rounds, as float32 "
        f"batches of {BATCH[32]} (32 pixels) and {BATCH[224]} (224 pixels) in host memory, "
        f"shuffled; {SMALL} images of 32 pixels, {LARGE} JPEG files of 500x375; "
        f"{len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}. Where a route has workers, starting them is part of it.\n\n"
        f"{markdown(['pixels', 'route', 'images/s'], rows)}\n\n"
        f"Before the first batch of a corruption: {mapped:.1f} ms to map CIFAR-10-C's file and "
        f"check it, {listed:.0f} ms to read it as a list of float32 images.\n"
    )
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
