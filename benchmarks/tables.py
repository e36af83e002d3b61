"""The tables of results/: methods by domains, on streams that every method shares.

    TTA_TEST_ASSETS=/path/to/data python benchmarks/tables.py [--workers N] [FILE ...]

writes results/FILE.md, or all of them. Runs are kept below results/runs, so an interrupted command
continues. Digits come with the package; tables of other data are left out, with a note, where
$TTA_TEST_ASSETS is not set. Each worker is a process with its share of the cores.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tta.config import RunConfig
from tta.foundation.cores import core_count
from tta.foundation.files import write_atomically
from tta.methods import METHODS, Need
from tta.methods.episodes import BatchEpisode
from tta.reporting.comparing import comparison_tables as printed
from tta.reporting.comparing.comparison import Comparison, compare
from tta.reporting.comparing.formats import render_tables, tables
from tta.reporting.records.runs import Run
from tta.sweeps.grid import Cell
from tta.sweeps.local import run_locally

SEED_SYSTEMS = ("source", "bn", "bn_alpha", "bn_ema", "core", "lame", "tent", "rmt", "cema")
RESULTS = Path("results")
ASSETS = "$TTA_TEST_ASSETS"
SAMPLE = RESULTS / "runs" / "imagenet-sample"


@dataclass(frozen=True)
class Table:
    """One table: a title, its methods, and the options that their runs share.

    Attributes:
        title: heading.
        rows: a method each, or a name of ``extra``.
        options: of every run, by field of RunConfig; ``$TTA_TEST_ASSETS`` stands for its value.
        extra: further options of some rows.
        seeds: of every row.
        note: what a reader must know beside the protocol.
        compact: show means and what the protocol adds in one table, instead of domains and tests.
    """

    title: str
    rows: tuple[str, ...]
    options: dict[str, Any]
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1,)
    note: str = ""
    compact: bool = False

    @property
    def needs_assets(self) -> bool:
        """Whether data from outside the package is read."""
        return any(ASSETS in str(value) for value in self.options.values())

    def cells(self, assets: str) -> list[Cell]:
        """Return the configuration of every run."""
        shared = {name: _resolved(value, assets) for name, value in self.options.items()}
        return [
            Cell(
                f"{self.title}: {row}, seed {seed}",
                RunConfig(
                    **{"method": row, "seed": seed, **shared, **self.extra.get(row, {})},
                    resume=True,
                ),
            )
            for seed in self.seeds
            for row in self.rows
        ]

    def render(self, runs: Sequence[Run], assets: str) -> str:
        """Return the section's text."""
        (compared,) = compare(runs)
        parts = [_compact(compared)] if self.compact else None
        parts = parts or tables(compared, ("errors", "cost", "tests"), "error")
        shown = render_tables(parts, "markdown")
        parts = [f"## {self.title}", f"`{self.command()}`", self.note, _defaulted(runs), shown]
        text = "\n\n".join(filter(None, parts)) + "\n"
        return text.replace(assets, ASSETS) if assets else text

    def command(self) -> str:
        """Return the command that each row was made with, METHOD standing for its name."""
        typed = {
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in self.options.items()
        }
        flags = [f"--{name.replace('_', '-')} {value}" for name, value in typed.items()]
        return " ".join(["python -m tta.run --method METHOD", *flags])


def _compact(compared: Comparison) -> printed.Table:
    """Return means over domains, and what a protocol or unknown images add, in one table."""
    errors = printed.error_table(compared, "error")
    cells = errors.cells.drop(columns=["predicts", "source data", "seeds", "pooled", "rank"])
    cells = cells.drop(columns=list(errors.parts[1]))
    cells = cells.rename(columns={"mean": "error %"})
    protocol = printed.protocol_table(compared).cells.drop(columns="method")
    wanted = [name for name in protocol if name not in ("step cost", *RECOVERY)]
    if len(wanted) < 2:
        wanted += [name for name in RECOVERY if name in protocol]
    if any("unknown_images" in row.summary for row in compared.rows):
        protocol = printed.open_set_table(compared).cells.drop(columns="method")
        wanted = list(protocol)
    return printed.Table("protocol", cells.join(protocol[wanted]))


RECOVERY = ("recovery", "excess")
"""Headers of what every stream tells."""


def _defaulted(runs: Sequence[Run]) -> str:
    """Return which methods ran with their defaults, the preset of the data having no values."""
    summaries = [run.summary for run in runs]
    names = {s["method"] for s in summaries if s["preset"].startswith("the method's defaults")}
    tunable = sorted(name for name in names if dataclasses.fields(METHODS[name].Params))
    if not tunable:
        return ""
    return f"With the methods' defaults, for want of a preset: {', '.join(tunable)}."


def _resolved(value: Any, assets: str) -> Any:
    return value.replace(ASSETS, assets) if isinstance(value, str) else value


RECORDED = {
    "dataset": f"arrays:{ASSETS}/reference/cifar10c-visible.npz",
    "source": f"arrays:{ASSETS}/data/cifar10/train4k.npz",
    "scenario": "recorded",
    "backbone": "cifar_resnet20",
    "weights": f"{ASSETS}/weights/resnet20-12fca82f.th",
    "cloud_backbone": "cifar_resnet56",
    "cloud_weights": f"{ASSETS}/weights/akamaster_resnet56_cifar10.safetensors",
    "preset": "cifar10-c",
    "batch_size": 200,
}
CIFAR_UNKNOWN = {"unknown": "cifar100-c@gen"}
CIFAR100_GENERATED = {
    "dataset": "cifar100-c@gen",
    "data_dir": f"{ASSETS}/data",
    "scenario": "continual",
    "backbone": "cifar_resnet20_distiller",
    "weights": f"{ASSETS}/weights/distiller_resnet20_cifar100.safetensors",
    "num_samples": 1000,
}
CIFAR10_GENERATED = {
    "dataset": "cifar10-c@gen",
    "data_dir": f"{ASSETS}/data",
    "backbone": "cifar_resnet20",
    "weights": f"{ASSETS}/weights/resnet20-12fca82f.th",
    "cloud_backbone": "cifar_resnet56",
    "cloud_weights": f"{ASSETS}/weights/akamaster_resnet56_cifar10.safetensors",
}
IMAGENET_SAMPLE = {
    "dataset": f"folder@gen:{SAMPLE}",
    "data_dir": f"{ASSETS}/data",
    "preset": "imagenet-c",
    "scenario": "continual",
    "backbone": "mobilenetv1_075",
    "weights": f"{ASSETS}/weights/mobilenetv1_075_224_imagenet_timm.safetensors",
    "crop": 1,  # all of a centre crop
    "batch_size": 64,
    "num_samples": 300,
}


def _is_image_text(name: str) -> bool:
    method = METHODS[name]
    return Need.IMAGE_TEXT in method.needs(method.Params())


IMAGE_TEXT = tuple(filter(_is_image_text, METHODS))
ON_CLIP = ("source", "tent", "sar", "lame", "roid", "t3a", *IMAGE_TEXT)
"""Zero-shot, methods for any network, and all that are for image-text models alone."""
ON_TRANSFORMER = (
    *("source", "t3a", "neo", "lame", "tent", "eata", "sar", "deyo", "roid", "cmf", "foa", "rem"),
    *("dpcore", "imse", "vida"),
)
NOT_VIDA = {"vida": {"set": {"insert_adapters": True}}}
ABOUT_VIDA = (
    "Row `vida`: fresh adapters were put into a network that was not trained with them, as its "
    "authors' is."
)
CLIP = {
    "backbone": "digits_clip",
    "domains": ("gaussian_noise", "defocus_blur", "frost", "fog", "contrast", "jpeg_compression"),
    "num_samples": 80,
    "batch_size": 20,
}
ALL = (
    *("source", "bn", "bn_alpha", "bn_ema", "t3a", "neo", "lame", "core", "tent", "tent with COME"),
    *("pl", "shot_im", "rpl", "eta", "eata", "eata with COME", "sar", "sar with COME", "rdumb"),
    *("deyo", "roid", "cmf", "asr", "spa", "santa", "rotta", "petta", "note", "rmt"),
    *("adacontrast", "cema", "unmix_tns", "tribe", "palm", "poem", "buffer"),
    *("reservoir", "reservoir with ROID", "crop_selection"),
)
NEWEST = (
    *("source", "bn", "tent", "neo", "unmix_tns", "tribe", "palm", "poem", "buffer"),
    *("reservoir", "reservoir with ROID", "crop_selection"),
)
IN_COPIES = {
    "reservoir with EATA": {"method": "reservoir", "set": {"inner": "eata"}},
    "reservoir with ROID": {"method": "reservoir", "set": {"inner": "roid"}},
}
RETURNING = ("source", "bn", "tent", "eata", "reservoir", "reservoir with EATA")
COSTLY = ("cotta", "memo", "ttaug", "gtta", "tea")
"""Methods with dozens of passes per image, or many steps on source images per batch."""
FEW_ROWS = ("source", "bn", "tent", *COSTLY)
COME = {
    "tent with COME": {"method": "tent", "set": {"loss": "come"}},
    "eata with COME": {"method": "eata", "set": {"loss": "come"}},
    "sar with COME": {"method": "sar", "set": {"loss": "come"}},
}
NOT_NOTE = {"note": {"set": {"convert_batch_norm": True}}}
ON_CIFAR = COME | IN_COPIES | NOT_NOTE | {"rmt": {"set": {"warm_up_samples": 4000}}}
ON_DIGITS = COME | IN_COPIES | NOT_NOTE
ABOUT_NOTE = (
    "Row `note`: batch norm was made instance-aware without training it so, which its paper warns "
    "of. Row `core*`: its loss is a reconstruction, its figures are not the paper's."
)
MIRRORED = (
    "Views of `memo` and `ttaug` are mirrored at random, which makes other digits of some: their "
    "errors say little of the methods."
)
ON_CIFAR_NOTE = f"RMT's warm-up is one pass over the 4,000 source images at hand. {ABOUT_NOTE}"
TIMES = (
    "Times are of {workers} run(s) at a time on {cores} cores, and of whole streams: where "
    "corruptions are made as the stream goes, making them is a part. A process makes one run after "
    "another, and the later ones find memory at hand that the earlier ones have freed: a quarter "
    "of source's time, or a few hundred MiB on large images, tells no methods apart. Every "
    "method's step by itself, on three networks, is in results/speed.md."
)
CONTINUAL = {"scenario": "continual"}
CORRELATED = {"scenario": "correlated", "dirichlet": 0.1}
SINGLE = {"scenario": "continual", "batch_size": 1, "num_samples": 100}
FEW = {"num_samples": 200}
CIFAR10_CONTINUAL = {**CIFAR10_GENERATED, **CONTINUAL, "num_samples": 1000}
CIFAR10_CORRELATED = {**CIFAR10_GENERATED, **CORRELATED, "num_samples": 1000}
CIFAR10_SINGLE = {**CIFAR10_GENERATED, **SINGLE}
CIFAR10_FEW = {**CIFAR10_GENERATED, **CONTINUAL, **FEW}
BASELINES = (*("source", "bn", "tent", "eata", "sar", "cotta", "rotta", "roid", "rmt", "petta"),)
OPEN_SET = ("unient", "ostta", "stamp", "sotta", "owttt")
THREE = ("gaussian_noise", "fog", "jpeg_compression")
PROTOCOLS = {
    "recurring, 20 visits": {
        "scenario": "recurring",
        "visits": 20,
        "domains": THREE,
        "num_samples": 60,
        "batch_size": 30,
        "probe": "source",
        "probe_samples": 50,
    },
    "label shift": {"scenario": "label_shift", "num_samples": 100, "draws": 100},
    "markov": {"scenario": "markov", "markov": "nunu", "num_samples": 100, "most_per_state": 60},
    "stream rate 1": {
        "scenario": "continual",
        "num_samples": 100,
        "stream_rate": 1,
        "cost": "counted",
    },
    "unknown images": {"scenario": "continual", "num_samples": 50},
}
LESSONS = {
    "recurring, 20 visits": (
        "Methods that normalise by the batch gain up to four points over twenty visits and forget "
        "next to nothing. With visits of 60 images the slow statistics of rotta and petta, made "
        "for longer ones, are no better than the source's, and on CIFAR-10 they forget 12 to 14 "
        "points of clean accuracy."
    ),
    "label shift": (
        "With 100 draws of a domain a batch of 64 still shows six classes, and batch statistics "
        "keep most of what they gain; before the next reset entropy adds nothing to that. Methods "
        "that average over views or models (CoTTA, ROID, RMT) gain two to five points on CIFAR-10."
    ),
    "markov": (
        "Where domains change within batches and labels stay, batch statistics are worse than "
        "none: every method that lives by them falls behind the source model. Those that were "
        "made for such streams, rotta and petta, are the only ones ahead of it."
    ),
    "stream rate 1": (
        "Counted in forward passes, RMT adapts to a tenth of the batches and CoTTA to 3 to 7 %, "
        "and both end within half a point of bn, which adapts to all: the others are answered with "
        "batch statistics too. Methods whose gain is slow statistics (rotta, petta) are left at "
        "the source model's error."
    ),
    "unknown images": (
        "Beside unknown images Tent and EATA still help on digits; what tells both kinds apart, an "
        "AUROC of 77 to 85 % with batch statistics, moves by four points at most whatever is "
        "adapted, but for CoTTA on digits. UniEnt lowers the FPR on digits and STAMP is best on "
        "CIFAR-10, where its values come from; with these it fails on digits, and OWTTT on both in "
        "so short a stream."
    ),
}
"""What one learns from each protocol."""


def _memory_note() -> str:
    """Return which image-text methods forget what, by what they keep."""
    kept = {name: METHODS[name].state for name in IMAGE_TEXT}
    images = [name for name in IMAGE_TEXT if kept[name] == ("views",)]
    batches = [
        name for name in IMAGE_TEXT if not kept[name] or issubclass(METHODS[name], BatchEpisode)
    ]
    online = [name for name in IMAGE_TEXT if name not in {*images, *batches}]
    return (
        f"Row `source` is the zero-shot model. Episodic, every image by itself: "
        f"{', '.join(images)}. Every batch by itself: {', '.join(batches)}, and lame. Online, from "
        f"what came before: {', '.join(online)}, and the others. {SMALL_CLIP}"
    )


SMALL_CLIP = (
    "The model is trained on digits alone: rows tell methods' behaviour and cost, and nothing of "
    "their ranks on CLIP. Six domains of 80 images: see the tests for what is chance."
)


def _protocol_tables() -> list[Table]:
    data = {
        "digits-c": ({}, {"unknown": "letters"}, ON_DIGITS),
        "CIFAR-10-C": ({**CIFAR10_GENERATED, "batch_size": 50}, CIFAR_UNKNOWN, ON_CIFAR),
    }
    return [
        Table(
            f"{name[:1].upper()}{name[1:]}, {title}",
            BASELINES + (OPEN_SET if name == "unknown images" else ()),
            shared | options | (unknown if name == "unknown images" else {}),
            extra,
            note=LESSONS.get(name, "") if title == "digits-c" else "",
            compact=True,
        )
        for name, options in PROTOCOLS.items()
        for title, (shared, unknown, extra) in data.items()
    ]


HEADINGS = {
    "newest": "The newest methods",
    "protocols": "Protocols",
    "seed_systems": "Seed systems",
    "cifar100_generated": "CIFAR-100-C, generated",
    "digits_all": "All methods on digits-c",
    "digits_vit": "A vision transformer on digits-c",
    "digits_clip": "An image-text model on digits-c",
    "cifar10_generated": "All methods on CIFAR-10-C, generated",
    "imagenet_sample": "1,000 ImageNet images, corruptions generated",
}
TABLES = {
    "newest": [
        Table(
            "digits-c, continual",
            NEWEST,
            CONTINUAL,
            IN_COPIES,
            (1, 2, 3),
            "Beside statistics of the batch, PALM alone gains much; NEO, made for transformers, "
            "does not make up for them. Seeds draw UnMix-TNS's components, and domains of 897 "
            "images are short for it.",
        ),
        Table(
            "digits-c, correlated",
            NEWEST,
            CORRELATED,
            IN_COPIES,
            note="Labels come in order: TRIBE's balanced statistics halve the source's error, "
            "statistics of the batch are worse than none.",
        ),
        Table(
            "CIFAR-10-C, recorded stream, 200 images of each domain",
            NEWEST,
            {**RECORDED, "num_samples": 200},
            IN_COPIES,
            note="Fifteen updates with values for other networks: for parity, not for ranks.",
        ),
        Table(
            "digits-c, three domains that return twenty times",
            RETURNING,
            PROTOCOLS["recurring, 20 visits"],
            IN_COPIES,
            note="With visits of 60 images, two batches, a copy for each style learns less than "
            "one model does for all.",
            compact=True,
        ),
        Table("Few images", ("source", "bn", "tent", "tea"), {**CONTINUAL, "num_samples": 64}),
        Table(
            "Continual, vision transformer",
            ("source", "tent", "sar", "foa", "neo", "dpcore", "imse", "vida"),
            {"backbone": "digits_vit", **CONTINUAL, "num_samples": 200},
            NOT_VIDA,
            note=ABOUT_VIDA,
        ),
    ],
    "protocols": _protocol_tables(),
    "seed_systems": [
        Table("digits-c, continual", SEED_SYSTEMS, {"scenario": "continual"}),
        Table("digits-c, gradual", SEED_SYSTEMS, {"scenario": "gradual", "num_samples": 100}),
        Table("digits-c, correlated", SEED_SYSTEMS, {"scenario": "correlated", "dirichlet": 0.1}),
        Table(
            "CIFAR-10-C, recorded stream",
            SEED_SYSTEMS,
            RECORDED,
            {"rmt": {"set": {"warm_up_samples": 4000}}},  # one pass over the source images there
        ),
    ],
    "cifar100_generated": [
        Table(
            "CIFAR-100-C generated from clean images, continual",
            ("source", "bn", "bn_alpha", "tent", "rmt"),
            CIFAR100_GENERATED,
            {"rmt": {"set": {"warm_up_samples": 2000}}},  # likewise
        ),
    ],
    "digits_all": [
        Table("Continual", ALL, {"scenario": "continual"}, ON_DIGITS, (1, 2, 3), ABOUT_NOTE),
        Table("Correlated", ALL, CORRELATED, ON_DIGITS, note=ABOUT_NOTE),
        Table("Batch size 1", ALL + COSTLY, SINGLE, ON_DIGITS, note=f"{ABOUT_NOTE} {MIRRORED}"),
        Table("Costly methods", FEW_ROWS, {**CONTINUAL, **FEW}, note=MIRRORED),
    ],
    "digits_vit": [
        Table(
            "Continual, vision transformer",
            ON_TRANSFORMER,
            {"backbone": "digits_vit", **CONTINUAL},
            NOT_VIDA,
            seeds=(1, 2, 3),
            note=ABOUT_VIDA,
        ),
    ],
    "digits_clip": [
        Table(
            "Continual, zero-shot",
            ON_CLIP,
            {**CONTINUAL, **CLIP},
            seeds=(1, 2, 3),
            note=_memory_note(),
        ),
        Table(
            "Correlated, zero-shot",
            ON_CLIP,
            {**CORRELATED, **CLIP},
            seeds=(1, 2, 3),
            note=_memory_note(),
        ),
    ],
    "cifar10_generated": [
        Table("Continual", ALL, CIFAR10_CONTINUAL, ON_CIFAR, (1, 2, 3), ON_CIFAR_NOTE),
        Table("Correlated", ALL, CIFAR10_CORRELATED, ON_CIFAR, note=ON_CIFAR_NOTE),
        Table("Batch size 1", ALL + COSTLY, CIFAR10_SINGLE, ON_CIFAR, note=ON_CIFAR_NOTE),
        Table("Costly methods", FEW_ROWS, CIFAR10_FEW, ON_CIFAR),
    ],
    "imagenet_sample": [
        Table(
            "ImageNet images, corruptions generated",
            ("source", "bn", "bn_alpha", "tent", "eta", "sar", "lame", "roid", "cmf", "deyo"),
            IMAGENET_SAMPLE,
            note="MobileNetV1 0.75; 300 of 1,000 images, one a class, in every corruption. Clean "
            "images are 256 x 256 centre crops, resized to 224. "
            "Methods that need source images are left out: there are no others.",
        ),
    ],
}


def main() -> int:
    """Make the tables that are asked for and write them; return 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time")
    options = parser.parse_args()
    names = options.files or list(TABLES)
    if unknown := set(names) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    assets = os.environ.get("TTA_TEST_ASSETS", "")
    failures = 0
    for name in names:
        chosen = [table for table in TABLES[name] if assets or not table.needs_assets]
        if len(chosen) < len(TABLES[name]):
            print(f"{name}: TTA_TEST_ASSETS is not set, digits alone", file=sys.stderr)
        if chosen:
            failures += make(name, chosen, assets, options.workers)
    return 1 if failures else 0


def unpack_sample(folder: Path) -> None:
    """Lay ImageNet images out in class folders."""
    with zipfile.ZipFile(folder / "images.zip") as archive:
        for row in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
            file = SAMPLE / row["wnid"] / row["file"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.read(row["file"]))


def make(name: str, chosen: list[Table], assets: str, workers: int) -> int:
    """Run what has not been run, and write results/NAME.md unless a run failed; count those."""
    if name == "imagenet_sample":
        unpack_sample(Path(assets, "data", "imagenet-sample"))
    cells = [cell for table in chosen for cell in table.cells(assets)]
    progress = tqdm(run_locally(cells, workers), desc=name, total=len(cells))
    outcomes = {outcome.cell.name: outcome for outcome in progress}
    failed = [outcome for outcome in outcomes.values() if outcome.finished is None]
    for outcome in failed:
        print(f"{outcome.cell.name}: {outcome.error}", file=sys.stderr)
    if failed:
        return len(failed)
    head = f"# {HEADINGS[name]}\n\n`python benchmarks/tables.py {name} --workers {workers}`\n\n"
    if not all(table.compact for table in chosen):
        head += TIMES.format(workers=workers, cores=core_count())
    sections = []
    for table in chosen:
        finished = [outcomes[cell.name].finished for cell in table.cells(assets)]
        runs = [Run.load(Path(RunConfig().output, found.path)) for found in finished]
        sections.append(table.render(runs, assets))
    write_atomically(RESULTS / f"{name}.md", "\n\n".join([head, *sections]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
