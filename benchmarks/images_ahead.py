"""Whether a model waits for images that are made while it runs.

    python benchmarks/images_ahead.py [--on digits] [--threads N] [--images N] [--rounds N]

streams 15 corruptions, severity 5, in one process: the model alone, making images alone, one after
the other, with the thread that makes the next batch, and with a worker process. Prints the seconds
of each, and their ratio to the longer of the first two, which is the least there can be.

Images are imagenet-c@gen's of pictures in a temporary folder, 224 pixels, and the model a
MobileNet (width 0.75, of random weights: its speed is that of the trained one); or the small ones
of digits-c, and the model adapts by RMT, which takes much longer than the images.
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
from torch import Tensor
from tqdm import trange

from tta.config import RunConfig
from tta.datasets import Dataset, open_dataset
from tta.experiment import build
from tta.reporting.tables import markdown
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream

Model = Callable[[Tensor], object]
DATA = {"pictures": "imagenet-c-full@gen", "digits": "digits-c"}
BATCH = {"pictures": 16, "digits": 64}
ALONE = ("the model alone", "making images alone")


def mobilenet() -> Model:
    """Return the MobileNet, which only predicts."""
    net = _gen_mobilenet_v1("mobilenetv1_100", 0.75, bn_eps=1e-3, pad_type="same", pretrained=False)
    return torch.inference_mode()(net.eval().to(memory_format=torch.channels_last))


def rmt() -> Model:
    """Return a step of RMT, after a short warm-up."""
    settings = {"warm_up_samples": BATCH["digits"]}
    made = build(RunConfig(method="rmt", device="cpu", set=settings, no_cache=True))
    made.method.start(made.source, None)
    return made.method.step


def stream(dataset: Dataset, images: int, batch_size: int, workers: int = 0) -> Stream:
    """Return every corruption of a few images."""
    plan = plan_stream("continual", dataset, ScenarioOptions(num_samples=images))
    return Stream(dataset, plan, batch_size, memory_format=torch.channels_last, workers=workers)


def run(model: Model, made: Stream) -> None:
    """Show every batch to the model."""
    for batch in made:
        model(batch.images)


def run_alone(model: Model, held: list[Tensor]) -> None:
    """Show images that are there already."""
    for images in held:
        model(images.clone())


def ways(subject: str, root: Path, images: int) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name."""
    ahead, in_line = (open_dataset(DATA[subject], root) for _ in range(2))
    in_line.costly = False  # then nothing is made ahead
    if subject == "pictures":
        ahead.image_size = in_line.image_size = (224, 224)
    net = mobilenet() if subject == "pictures" else rmt()
    made = partial(stream, images=images, batch_size=BATCH[subject])
    held = [batch.images for batch in made(in_line)]
    return {
        ALONE[0]: partial(run_alone, net, held),
        ALONE[1]: lambda: run(len, made(in_line)),
        "one after the other": lambda: run(net, made(in_line)),
        "the next batch in a thread": lambda: run(net, made(ahead)),
        "in one worker process": lambda: run(net, made(ahead, workers=1)),
    }


def timed(every: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return the seconds of each way, by the median round."""
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for _ in trange(rounds, desc="rounds"):
        for name, way in every.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--on", choices=DATA, default="pictures", help="images and model")
    parser.add_argument("--threads", type=int, default=1, help="of the model")
    parser.add_argument("--images", type=int, default=16, help="of each corruption")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as temporary:
        write_data(Path(temporary))
        median = timed(ways(asked.on, Path(temporary), asked.images), asked.rounds)
    least = max(median[name] for name in ALONE)
    rows = [[name, f"{value:.2f}", f"{value / least:.2f}"] for name, value in median.items()]
    print(f"{len(os.sched_getaffinity(0))} cores, model with {asked.threads} threads\n")
    print(markdown(["way", "seconds", "of the least"], rows))


if __name__ == "__main__":
    main()
