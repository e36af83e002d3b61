"""Run directories as `tta.run` writes them, of methods that guess with a given skill."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from tests.fakes import NUM_CLASSES, RandomImages
from tta.backbones.passes import Passes
from tta.experiment.figures import figures
from tta.experiment.observing.recorder import Recorder
from tta.reporting.records.done import done_text
from tta.reporting.records.run_directory import RunDirectory, run_path
from tta.reporting.records.stored_tables import to_csv
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Batch, Stream
from tta.tasks.finite import nonfinite_facts

DOMAINS = tuple("abcdefgh")


def write_run(
    root: Path,
    method: str = "bn",
    *,
    skill: float = 1.0,
    seed: int = 1,
    images: int = 40,
    domains: tuple[str, ...] = DOMAINS,
    batch_size: int = 10,
    params: dict | None = None,
    samples: bool = True,
    diverged: bool = False,
    **facts,
) -> Path:
    """Write one finished run; logits of the right class are higher by ``skill`` on average.

    The outputs of one that has ``diverged`` are not numbers in the second half of the stream.
    """
    dataset = RandomImages(images, domains)
    plan = plan_stream("continual", dataset, ScenarioOptions(seed=seed))
    stream = Stream(dataset, plan, batch_size)
    fingerprint = hashlib.sha256(
        repr([method, seed, batch_size, images, params, facts]).encode()
    ).hexdigest()[:12]
    path = run_path(str(root), ["random", "continual", "net", method], fingerprint)
    directory = RunDirectory(path)
    recorder = Recorder(plan, stream.labels(), "logits", directory=directory, passes=Passes())
    generator = torch.Generator().manual_seed(seed)  # the same images are hard for every method
    labels = torch.from_numpy(stream.labels())
    noise = torch.randn(len(plan), NUM_CLASSES, generator=generator)
    logits = noise + skill * torch.nn.functional.one_hot(labels, NUM_CLASSES)
    if diverged:
        logits[len(plan) // 2 :] = torch.nan
    for start, stop in stream.bounds():
        recorder.passes.forward += stop - start
        recorder.update(Batch(torch.empty(0), start, stop, False), logits[start:stop])
    recorder.close()
    table = recorder.domains()
    directory.write("domains.csv", to_csv(table))
    if samples:
        recorder.samples.save(directory)
    directory.write_config({"method": method, "num_samples": None, "seed": seed})
    summary = {
        "schema": 1,
        "finished": True,
        "method": method,
        "title": method,
        "predicts": "before",
        "outputs": "logits",
        "needs": ["batch_norm"],
        "params": params or {},
        "preset": "defaults",
        "dataset": "random",
        "scenario": "continual",
        "backbone": "net",
        "cloud_backbone": None,
        "batch_size": batch_size,
        "window": 1,
        "seed": seed,
        "precision": "fp32",
        "resets": 0,
        **nonfinite_facts(recorder.samples.confidence, stream.edges[:-1]),
        **figures(table, pooled=recorder.samples.pooled()),
        "cost": {
            "prepare_seconds": 0.0,
            "stream_seconds": 2.0,
            "images_per_second": len(plan) / 2.0,
            "peak_memory_bytes": 2**27,
        },
        "stream_digest": plan.digest,
        "data_digest": "d" * 64,
        "weights_sha256": "w" * 64,
        "fingerprint": fingerprint,
        "environment": {"device": "cpu", "device_name": "x86_64", "threads": 1},
    }
    directory.write_summary(summary | facts)
    directory.mark_done()
    return path


def edit_summary(path: Path, **facts) -> None:
    """Change facts of a written summary."""
    file = path / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    seal(path)


def seal(path: Path) -> None:
    """Mark a run that was edited as finished, as if it had left its files as they are now."""
    files = {name: path / name for name in RunDirectory.files() if (path / name).exists()}
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    (path / "done").write_text(done_text(digests))
