"""Whether a model waits for images that are made while it runs.

    python benchmarks/images_ahead.py [--threads N]

streams imagenet-c@gen's 15 corruptions of pictures in a temporary folder, 224 pixels, severity 5,
through a MobileNet (width 0.75, of random weights: its speed is that of the trained one), in one
process: the model alone, making images alone, one after the other, with the thread that makes the
next batch, and with a worker process. Prints the seconds of each, and their ratio to the longer of
the first two, which is the least there can be.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from data_path import write_data
from timm.models.efficientnet import _gen_mobilenet_v1
from torch import Tensor, nn
from tqdm import trange

from tta.datasets import Dataset, open_dataset
from tta.reporting.tables import markdown
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream

IMAGES, BATCH, ROUNDS = 16, 16, 3
ALONE = ("the model alone", "making images alone")


def network() -> nn.Module:
    """Return the MobileNet."""
    net = _gen_mobilenet_v1("mobilenetv1_100", 0.75, bn_eps=1e-3, pad_type="same", pretrained=False)
    return net.eval().to(memory_format=torch.channels_last)


def stream(dataset: Dataset, workers: int = 0) -> Stream:
    """Return every corruption of a few images."""
    plan = plan_stream("continual", dataset, ScenarioOptions(num_samples=IMAGES))
    return Stream(dataset, plan, BATCH, memory_format=torch.channels_last, workers=workers)


@torch.inference_mode()
def run(model: Callable[[Tensor], object], made: Stream) -> None:
    """Show every batch to the model."""
    for batch in made:
        model(batch.images)


@torch.inference_mode()
def run_alone(model: nn.Module, held: list[Tensor], batches: int) -> None:
    """Show images that are there already."""
    for number in range(batches):
        model(held[number % len(held)])


def ways(root: Path) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name."""
    ahead, in_line = (open_dataset("imagenet-c-full@gen", root) for _ in range(2))
    in_line.costly = False  # then nothing is made ahead
    for data in (ahead, in_line):
        data.image_size = (224, 224)
    net = network()
    held = [batch.images for batch in stream(in_line)]
    return {
        ALONE[0]: partial(run_alone, net, held, len(held)),
        ALONE[1]: lambda: run(len, stream(in_line)),
        "one after the other": lambda: run(net, stream(in_line)),
        "the next batch in a thread": lambda: run(net, stream(ahead)),
        "in one worker process": lambda: run(net, stream(ahead, 1)),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of the model")
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        write_data(Path(temporary))
        made = ways(Path(temporary))
        seconds: dict[str, list[float]] = {name: [] for name in made}
        for _ in trange(ROUNDS, desc="rounds"):
            for name, way in made.items():
                started = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    least = max(median[name] for name in ALONE)
    rows = [[name, f"{value:.2f}", f"{value / least:.2f}"] for name, value in median.items()]
    print(f"{len(os.sched_getaffinity(0))} cores, model with {threads} threads\n")
    print(markdown(["way", "seconds", "of the least"], rows))


if __name__ == "__main__":
    main()
