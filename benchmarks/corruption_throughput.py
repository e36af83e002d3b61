"""How fast images are corrupted, per core, beside other ways and beside a model's forward pass.

    python benchmarks/corruption_throughput.py

times, interleaved in one process with one thread, the 15 corruptions at severity 3 on images of 32
and 224 pixels: this package's, one image at a time as the official script works
(benchmarks/per_image.py), and at 224 the package imagecorruptions, where it is installed. Frost
is cut from the official textures below --frost, by default procedural stand-ins of their sizes.
Writes results/corruption_throughput.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
from per_image import per_image
from PIL import Image
from tqdm import trange

import tta.backbones.nets  # noqa: F401 - registers the CIFAR nets
from tta.corruptions import CORRUPTIONS, corrupt
from tta.corruptions.frost_textures import OFFICIAL_FILES
from tta.reporting.tables import markdown

SEVERITY = 3
ROUNDS = 5
OUTPUT = Path("results/corruption_throughput.md")
BATCH = {32: 200, 224: 16}
FEW = {32: 20, 224: 2}
MODELS = {32: "cifar_resnet20", 224: "resnet50"}
PACKAGE = "imagecorruptions"
# Allowed to be slower: OpenCV's filter and the codec are as fast as it gets on one core.
EXCEPTIONS = ("defocus_blur", "jpeg_compression")


@dataclass
class Entry:
    """One thing that is timed.

    Attributes:
        call: does it once.
        images: how many images it does it to.
        seconds: of processor time, one per round.
    """

    call: Callable[[], object]
    images: int
    seconds: list[float] = field(default_factory=list)

    def time(self) -> None:
        """Do it once and note how long it took."""
        started = time.process_time()
        self.call()
        self.seconds.append(time.process_time() - started)

    @property
    def rate(self) -> float:
        """Images per second, by the median round."""
        return self.images / statistics.median(self.seconds)


def pictures(side: int) -> np.ndarray:
    """Return uint8 images ``[N, side, side, 3]`` with structure at several scales."""
    rng = np.random.default_rng(side)
    coarse = rng.integers(0, 256, (BATCH[side], 8, 8, 3), np.uint8)
    fine = rng.normal(0, 12, (BATCH[side], side, side, 3))
    smooth = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        for image in coarse
    ]
    return np.clip(np.stack(smooth) + fine, 0, 255).astype(np.uint8)


def entries(side: int, frost: Path) -> dict[tuple[str, str], Entry]:
    """Return what is timed at one size, by (way, corruption)."""
    images = pictures(side)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    few = images[: FEW[side]]
    rng = np.random.default_rng(0)
    files = [frost / name for name in OFFICIAL_FILES]
    made: dict[tuple[str, str], Entry] = {}
    for name in CORRUPTIONS:
        made["ours", name] = Entry(lambda n=name: _ours(batch, n, frost), len(batch))
        one = per_image(name, SEVERITY, side, files, rng)
        single = few[:1] if name == "glass_blur" else few
        made["per image", name] = Entry(lambda f=one, p=single: [f(x) for x in p], len(single))
    made["model", MODELS[side]] = Entry(_forward(side, batch), len(batch))
    if side == 224:
        for name, call in _package(few).items():
            made[PACKAGE, name] = Entry(call, len(few))
    return made


def _ours(batch: torch.Tensor, name: str, frost: Path) -> torch.Tensor:
    return corrupt(batch, name, SEVERITY, range(len(batch)), frost_textures=frost)


def _forward(side: int, batch: torch.Tensor) -> Callable[[], torch.Tensor]:
    model = timm.create_model(MODELS[side], pretrained=False).eval()
    model = model.to(memory_format=torch.channels_last)
    floats = (batch.float() / 255).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        return model(floats)

    return forward


def _package(few: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return the package's corruptions that run here, of the 15."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from imagecorruptions import corrupt as other
    except ImportError as error:
        print(f"without {PACKAGE}: {error}; pip install {PACKAGE} opencv-python-headless")
        return {}
    runs = {}
    for name in CORRUPTIONS:
        call = lambda n=name: [other(x, severity=SEVERITY, corruption_name=n) for x in few]  # noqa: E731
        try:
            call()
        except (TypeError, AttributeError, ValueError, NameError) as error:
            print(f"{PACKAGE}: {name} does not run here: {error}")
            continue
        runs[name] = call
    return runs


def measure(made: list[Entry]) -> None:
    """Time every entry once a round, each round beginning with another."""
    for entry in made:
        entry.call()
    for number in trange(ROUNDS, desc="rounds"):
        shift = number * len(made) // ROUNDS
        for entry in made[shift:] + made[:shift]:
            entry.time()


def harmonic(rates: list[float]) -> float:
    """Return the mean rate of equal numbers of images of each corruption."""
    return statistics.harmonic_mean(rates)


def table(side: int, made: dict[tuple[str, str], Entry]) -> str:
    """Return the rates at one size, and what follows from them."""
    ways = ["ours", "per image"]
    known = [name for name in CORRUPTIONS if (PACKAGE, name) in made]
    ways += [PACKAGE] if known else []
    rows = [[name, *_cells(name, ways, made)] for name in CORRUPTIONS]
    ours = {name: made["ours", name].rate for name in CORRUPTIONS}
    loop = {name: made["per image", name].rate for name in CORRUPTIONS}
    means = [harmonic(list(ours.values())), harmonic(list(loop.values()))]
    rows.append(
        ["**harmonic mean of 15**", *_numbers(means[0]), *_numbers(means[1], means[0])]
        + ["", ""] * bool(known)
    )
    header = ["corruption", "ours", "per image", "ours / it"]
    header += [PACKAGE, "ours / it"] if known else []
    model = made["model", MODELS[side]].rate
    lines = [
        f"## {side} pixels\n",
        markdown(header, rows) + "\n",
        f"- The mean corruption costs {100 * model / means[0]:.1f} % of a forward pass of "
        f"{MODELS[side]} ({model:.0f} images/s); target: at most 10 %.",
        f"- Against the per-image loop: {means[0] / means[1]:.1f}x; target: at least 10x.",
    ]
    return "\n".join(lines + (_against_package(ours, made, known) if known else []))


def _cells(name: str, ways: list[str], made: dict[tuple[str, str], Entry]) -> list[str]:
    rate = made["ours", name].rate
    cells = _numbers(rate)
    for way in ways[1:]:
        entry = made.get((way, name))
        cells += _numbers(entry.rate, rate) if entry else ["does not run", ""]
    return cells


def _numbers(rate: float, ours: float | None = None) -> list[str]:
    shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.2f}"
    return [shown] if ours is None else [shown, f"{ours / rate:.2f}"]


def _against_package(
    ours: dict[str, float], made: dict[tuple[str, str], Entry], known: list[str]
) -> list[str]:
    theirs = {name: made[PACKAGE, name].rate for name in known}
    ratio = harmonic([ours[name] for name in known]) / harmonic(list(theirs.values()))
    slower = [
        f"{name} {ours[name] / theirs[name]:.2f}"
        for name in known
        if name not in EXCEPTIONS and ours[name] < 0.8 * theirs[name]
    ]
    return [
        f"- Against {PACKAGE}, over the {len(known)} of its corruptions that still run here "
        f"({', '.join(known)}): {ratio:.1f}x on the harmonic mean; target: at least 4x.",
        f"- Slower than 0.8x, apart from {' and '.join(EXCEPTIONS)}: "
        f"{', '.join(slower) or 'none'}; target: none.",
    ]


def _stand_ins(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in OFFICIAL_FILES:
        noise = rng.integers(0, 256, (90, 120, 3), np.uint8)
        Image.fromarray(noise).resize((1200, 900), Image.Resampling.BICUBIC).save(folder / name)
    return folder


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frost", type=Path, help="folder of the official frost textures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        frost = options.frost or _stand_ins(Path(temporary))
        made = {side: entries(side, frost) for side in BATCH}
        measure([entry for part in made.values() for entry in part.values()])
    textures = "official textures" if options.frost else "stand-ins of the official textures"
    text = (
        "# Throughput of the corruptions\n\n`python benchmarks/corruption_throughput.py`\n\n"
        f"Images per second of one core (processor time, one thread, median of {ROUNDS} "
        f"interleaved rounds), severity {SEVERITY}, on the CPU; batches of {BATCH[32]} (32 pixels) "
        f"and {BATCH[224]} (224 pixels); {textures}; torch {torch.__version__}.\n\n"
        + "\n\n".join(table(side, part) for side, part in made.items())
        + "\n"
    )
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
