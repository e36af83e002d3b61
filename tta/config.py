"""One frozen dataclass behind the command line, YAML files and Python.

This module imports neither torch nor timm, so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from tta.foundation.devices import NO_TF32, has_tf32, parse_device
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.geometry import check_together, parse_crop, parse_input_size, parse_resize
from tta.foundation.inputs import read_text
from tta.foundation.normalisation import check_normalisation, spread
from tta.foundation.options import (
    NAMES,
    as_declared,
    check_type,
    check_value,
    is_empty,
    option,
    some_of,
)
from tta.foundation.pacing import check_pacing, parse_classes, parse_cost, parse_every
from tta.foundation.stream_options import (
    CANONICAL,
    parse_classes_per_batch,
    parse_markov,
    parse_order,
)
from tta.foundation.templates import parse_templates
from tta.foundation.yaml_files import parse_yaml

SCORES = ("own", "energy", "max_softmax", "entropy")
"""How known an image looks; see :mod:`tta.tasks.known_scores`."""
OF_CEMA = ("upload_budget", "link_latency", "link_bandwidth", "batch_interval")
"""Options of earlier versions, which configurations that these wrote still have."""
EVIDENCE = ("infomax", "snd", "consistency")
"""Figures without labels that a run can record beside its entropy, which is always there."""

ESTIMATES = ("aetta", "softmax")
"""Estimates of accuracy that a run can record."""

OF_A_METHOD = (
    "method",
    "set",
    "preset",
    "window",
    "on_nonfinite",
    "stream_rate",
    "cost",
    "single_model",
    "adaptation_rate",
    "adapt_first",
    "adapt_every",
    "adapt_from",
    "reset_rule",
)
"""Options that change nothing of a stream and of its images: runs that differ in these can share
them."""


def _known_otherwise(name: str, names: Iterable[str]) -> str:
    if name in OF_CEMA:
        return f"it is a hyper-parameter of cema: set: {{{name}: ...}}, or --set {name}=..."
    return did_you_mean(name, names)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's figures, and where its records go."""

    method: str = option("source", "method name, or my_file.py:MyMethod", "method", metavar="NAME")
    set: dict[str, Any] = option(
        {}, "a hyper-parameter of the method; may be repeated", "method", metavar="NAME=VALUE"
    )
    preset: str = option(
        "auto",
        "published hyper-parameters: a file of tta/presets, 'auto' for the dataset's, or "
        "'defaults' for the method's own",
        "method",
        metavar="NAME",
    )
    window: int = option(
        1,
        "with --batch-size 1: adapt once per window of this many images",
        "method",
        minimum=1,
        maximum=1_000_000,
        metavar="N",
    )
    loss_size: str = option(
        "stride",
        "segmentation: losses are of outputs as small as the network's stride makes them, or "
        "enlarged to the size of the input",
        "method",
        choices=("stride", "input"),
    )
    on_nonfinite: str = option(
        "mark",
        "where outputs are not finite: mark the run, stop it, or reset the method after each such "
        "batch; the last two wait for the device once a batch",
        "method",
        choices=("mark", "stop", "reset"),
    )
    dataset: str = option(
        "digits-c",
        "name, arrays:PATH.npz, folder:PATH, folder@gen:PATH, folder-seg:PATH or my_file.py:MyData",
        "data",
        metavar="NAME",
    )
    data_dir: str | None = option(
        None,
        "folder of the published datasets; default: $TTA_DATA_DIR",
        "data",
        metavar="DIR",
    )
    decoded_cache: str | None = option(
        None,
        "keep decoded image files as uint8 arrays in this folder, for later epochs and runs",
        "data",
        metavar="DIR",
    )
    source: str | None = option(
        None,
        "source images for methods that need them, in the same forms; default: the dataset's own",
        "data",
        metavar="NAME",
    )
    input_size: tuple[int, int] | None = option(
        None,
        "size in which images are shown to the model; default: see tta/experiment/showing.py",
        "data",
        metavar="H[,W]",
        parse=parse_input_size,
    )
    resize: str | None = option(
        None,
        "shorter, squash or none, and a filter such as bicubic: shorter,bicubic; default: the "
        "dataset's published transform, for one's own images the backbone's of timm",
        "data",
        metavar="HOW[,FILTER]",
        parse=parse_resize,
    )
    crop: float | None = option(
        None,
        "fraction of each side of the resized image that is shown, its centre; default: as there",
        "data",
        metavar="FRACTION",
        parse=parse_crop,
    )
    domains: tuple[str, ...] | None = option(
        None, "comma-separated domains, in this order", "data", metavar="A,B,C"
    )
    severity: int | None = option(
        None, "corruption severity, 1 to 5", "data", minimum=0, metavar="N"
    )
    num_samples: int | None = option(
        None,
        "images per domain; default: all",
        "data",
        minimum=1,
        maximum=1_000_000_000,
        metavar="N",
    )
    compose: tuple[str, ...] | None = option(
        None,
        "comma-separated corruptions that follow each other on every image, as the only domain; "
        "of datasets whose images are corrupted on the fly",
        "data",
        metavar="A,B",
    )
    backbone: str | None = option(
        None,
        "any timm model name, clip:ARCHITECTURE/TAG of open_clip, or digits_clip; default: the "
        "dataset's",
        "backbone",
        metavar="NAME",
    )
    weights: str | None = option(
        None, "checkpoint: safetensors, or a pickle of plain tensors", "backbone", metavar="FILE"
    )
    num_classes: int | None = option(
        None,
        "outputs of the classifier in --weights; default: the architecture's",
        "backbone",
        minimum=1,
        maximum=1_000_000,
        metavar="C",
    )
    weights_kind: str = option(
        "auto",
        "which weights of a checkpoint that holds averaged ones (EMA, a teacher) beside the "
        "trained ones; auto is raw where there are both",
        "backbone",
        choices=("auto", "raw", "ema"),
    )
    mean: tuple[float, ...] | None = option(
        None,
        "mean per channel that the backbone's images are normalised with, in [0, 1]; default: the "
        "checkpoint's, else timm's for the architecture",
        "backbone",
        metavar="R,G,B",
    )
    std: tuple[float, ...] | None = option(
        None, "standard deviation, likewise", "backbone", metavar="R,G,B"
    )
    classes: str | None = option(
        None,
        "names of the model's outputs, one per line in their order, which class folders are "
        "matched to; or @imagenet, @imagenet-12k, @imagenet-21k (timm's lists), or @numbers "
        "where folders are called by numbers of outputs; default: what the model or timm says",
        "backbone",
        metavar="FILE",
    )
    class_order: str | None = option(
        None,
        "order in which outputs count class folders whose names tell nothing else: by character, "
        "as torchvision's ImageFolder, or with digits as numbers",
        "backbone",
        choices=("sorted", "natural"),
    )
    templates: tuple[str, ...] | None = option(
        None,
        "of image-text models: texts that class names are put into; dataset, openai80, simple7, "
        "one such as 'a photo of a {}.', or a file with one per line; default: dataset",
        "backbone",
        metavar="TEXT|FILE",
        parse=parse_templates,
    )
    cloud_backbone: str | None = option(
        None,
        "the second model: of edge-cloud methods the larger one, of adaptive_smoothing the robust "
        "one; default: the dataset's",
        "cloud",
        metavar="NAME",
    )
    cloud_weights: str | None = option(
        None, "checkpoint of --cloud-backbone", "cloud", metavar="FILE"
    )
    scenario: str = option(
        "continual",
        "order of the stream; parts of one joined by +, such as gradual+class_grouped; or "
        "my_file.py:my_scenario",
        "stream",
        metavar="NAME",
    )
    batch_size: int | None = option(
        None,
        "images per batch; default: the dataset's",
        "stream",
        minimum=1,
        maximum=1_000_000,
        metavar="N",
    )
    contiguous_batches: bool = option(False, "let batches run across domain boundaries", "stream")
    dirichlet: float = option(
        0.0,
        "label order of correlated and recurring scenarios: Dirichlet concentration; 0 sorts by "
        "label, in recurring ones it leaves labels shuffled",
        "stream",
        minimum=0.0,
        maximum=1e6,
        metavar="DELTA",
    )
    zipf: float = option(
        2.0,
        "class_imbalanced: exponent of the class proportions, above 1",
        "stream",
        minimum=1.01,
        maximum=100.0,
        metavar="A",
    )
    seed: int = option(1, "of the stream's order and of the method", "stream", minimum=0)
    order: str = option(
        CANONICAL,
        "order of the domains: canonical, which is the dataset's or that of --domains; petta, that "
        "of RoTTA and PeTTA; random, another for every --seed; or random:SEED",
        "stream",
        metavar="ORDER",
        parse=parse_order,
    )
    visits: int = option(
        20,
        "recurring, domain_blocks: how often every domain is visited",
        "stream",
        minimum=1,
        maximum=1_000_000,
        metavar="K",
    )
    markov: str = option(
        "nunu",
        "markov: setting of UniTTA, four letters: classes correlated (n) or not (i), imbalanced "
        "(u) or not (1); domains n, i or in order (1), and u or 1",
        "stream",
        metavar="NAME",
        parse=parse_markov,
    )
    class_stay: float | None = option(
        None,
        "markov: greatest probability that the class stays; default: the setting's, as below",
        "stream",
        minimum=0.0,
        maximum=1.0,
        metavar="P",
    )
    class_ratio: float | None = option(
        None,
        "markov: share of the first class to that of the last",
        "stream",
        minimum=1.0,
        maximum=1e6,
        metavar="R",
    )
    domain_stay: float | None = option(
        None,
        "markov: greatest probability that the domain stays",
        "stream",
        minimum=0.0,
        maximum=1.0,
        metavar="P",
    )
    domain_ratio: float | None = option(
        None,
        "markov: share of the first domain to that of the last",
        "stream",
        minimum=1.0,
        maximum=1e6,
        metavar="R",
    )
    most_per_state: int | None = option(
        None,
        "markov: images of the first class in the first domain; default: as many as a domain has "
        "of a class",
        "stream",
        minimum=1,
        maximum=1_000_000,
        metavar="N",
    )
    imbalance_ratio: float = option(
        500_000.0,
        "label_shift: probability of the class whose turn it is to that of any other",
        "stream",
        minimum=1.0,
        maximum=1e12,
        metavar="R",
    )
    draws: int | None = option(
        None,
        "label_shift: images drawn of each domain, or of all together where they are mixed; "
        "default: twice as many as there are",
        "stream",
        minimum=1,
        maximum=100_000_000,
        metavar="N",
    )
    classes_per_batch: tuple[int, int] = option(
        (1, 4),
        "few_classes_per_batch: least and greatest number of classes",
        "stream",
        metavar="MIN,MAX",
        parse=parse_classes_per_batch,
    )
    tasks: int = option(
        1000,
        "few_classes_per_batch: batches of each domain",
        "stream",
        minimum=1,
        maximum=1_000_000,
        metavar="N",
    )
    translate_by: int = option(
        1,
        "translations: pixels by which copies are moved, of images before they are resized",
        "stream",
        minimum=1,
        maximum=1000,
        metavar="PIXELS",
    )
    translate_edges: str = option(
        "repeat",
        "translations: what comes in where a copy has left: its outermost pixels again, or, as of "
        "cyclic shifts, what has left on the other side",
        "stream",
        choices=("repeat", "wrap"),
    )
    score: str | None = option(
        None,
        "of streams with unknown images: what tells how known an image looks: the method's own "
        "score (where it has none, the energy), or the energy, the largest probability or minus "
        "the entropy of its outputs; default: own",
        "protocol",
        choices=SCORES,
    )
    unknown: str | None = option(
        None,
        "data set whose images are shown as unknown ones (label -1) beside those of --dataset, in "
        "the same forms",
        "protocol",
        metavar="NAME",
    )
    unknown_ratio: float | None = option(
        None,
        "unknown images per known one; default: 1",
        "protocol",
        minimum=0.001,
        maximum=1000.0,
        metavar="R",
    )
    unknown_mix: str | None = option(
        None,
        "where they come: shuffled among the known images, paired (half of every batch) or in a "
        "burst halfway through a domain; default: shuffled",
        "protocol",
        choices=("shuffled", "paired", "burst"),
    )
    stream_rate: float | None = option(
        None,
        "let the stream not wait: a batch that costs c forward passes is followed by "
        "ceil(ETA c) - 1 that are only predicted; 0 waits, 1 is as fast as the plain model",
        "protocol",
        minimum=0.0,
        maximum=1.0,
        metavar="ETA",
    )
    cost: str | float = option(
        "measured",
        "of a step under --stream-rate: measured against the frozen source model, counted in "
        "images forward and backward (as two), or given as a number of forward passes",
        "protocol",
        metavar="C",
        parse=parse_cost,
    )
    single_model: bool = option(
        False, "guess the batches that --stream-rate lets a method miss", "protocol"
    )
    adaptation_rate: float | None = option(
        None,
        "adapt to this share of the batches, evenly spread, and predict the others",
        "protocol",
        minimum=1e-6,
        maximum=1.0,
        metavar="R",
    )
    adapt_first: bool = option(
        False,
        "begin --adaptation-rate with an adapted batch instead of ending with one",
        "protocol",
    )
    adapt_every: tuple[int, int] | None = option(
        None,
        "adapt to the first N (default 1) of every K batches, and predict the others",
        "protocol",
        metavar="K[,N]",
        parse=parse_every,
    )
    adapt_from: str = option(
        "batch",
        "what a sparse step adapts to: the batch at hand, or as many images drawn, even in their "
        "predicted classes, from all since the last step",
        "protocol",
        choices=("batch", "pool"),
    )
    adapt_samples: int | None = option(
        None,
        "adapt to so many images of one half of each domain, then freeze and judge by the other",
        "protocol",
        minimum=1,
        metavar="N",
    )
    adapt_classes: int | tuple[int, ...] | None = option(
        None,
        "likewise, to images of so many classes, drawn by the seed, or of these alone",
        "protocol",
        metavar="COUNT|A,B",
        parse=parse_classes,
    )
    probe: str | None = option(
        None,
        "clean images that the method classifies before the stream and after each domain, without "
        "adapting: source, or a dataset; what was forgotten is recorded",
        "protocol",
        metavar="NAME",
    )
    probe_samples: int = option(
        1000, "how many of them", "protocol", minimum=1, maximum=1_000_000_000, metavar="N"
    )
    evidence: tuple[str, ...] | None = option(
        None,
        "figures without labels to record for tta sweep --select, of infomax, snd and consistency; "
        "the last takes two more forward passes; times leave them out",
        "protocol",
        metavar="A,B",
        parse=some_of("--evidence", EVIDENCE),
    )
    estimate: tuple[str, ...] | None = option(
        None,
        "estimate each batch's accuracy without its labels: aetta, by ten forward passes with "
        "dropout, and softmax, the mean confidence at temperature 2; times leave them out",
        "protocol",
        metavar="A,B",
        parse=some_of("--estimate", ESTIMATES),
    )
    estimate_dropout: float | None = option(
        None,
        "share of units that --estimate aetta drops; default: as published, by the number of "
        "classes: .4 up to 10, .3 up to 200, else .2",
        "protocol",
        minimum=0.01,
        maximum=0.99,
        metavar="RATE",
    )
    reset_rule: str = option(
        "none",
        "reset the method after a batch whose --estimate aetta is below 20 percent, or has fallen; "
        "waits for the device once a batch",
        "protocol",
        choices=("none", "aetta"),
    )
    device: str = option(
        "auto",
        "where the model runs: auto, cpu, mps, cuda or cuda:N; no figure depends on N; auto is the "
        "first there is of cuda, mps and cpu",
        "machine",
        metavar="NAME",
        parse=parse_device,
    )
    workers: int | None = option(
        None,
        "processes that decode or corrupt images ahead; default: none on a CPU or for arrays, "
        "else one per core, at most 8; without any, a thread makes the next batch",
        "machine",
        minimum=0,
        maximum=1024,
        metavar="N",
    )
    precision: str = option(
        "fp32",
        "of forward passes; fp32 is float32 throughout, tf32 lets GPUs round the factors of "
        "products, forward and backward; auto tries for a second whether bf16 is faster here",
        "machine",
        choices=("fp32", "tf32", "bf16", "fp16", "auto"),
    )
    deterministic: bool = option(
        False,
        "let two runs on a GPU be equal to the byte, slower, or end where an operator cannot; on "
        "a CPU they are without it",
        "machine",
    )
    compile: str = option(
        "none",
        "let torch.compile write the code of the network's forward and backward passes, for whole "
        "batches; max-autotune also tries out which is fastest; takes a minute before the stream, "
        "less the next time, and rounds otherwise",
        "machine",
        choices=("none", "default", "max-autotune"),
    )
    fold: bool = option(
        False,
        "fold batch norm into the convolutions before it, where a method changes neither: faster, "
        "and the last digits are others",
        "machine",
    )
    memory_format: str = option(
        "auto",
        "layout of activations; auto is channels_last for models with convolutions",
        "machine",
        choices=("auto", "channels_last", "contiguous"),
    )
    output: str = option("results/runs", "where records go", "records", metavar="DIR")
    force: bool = option(False, "run again although a finished record exists", "records")
    resume: bool = option(False, "go on from the latest checkpoint of an unfinished run", "records")
    checkpoint_every: int | None = option(
        None,
        "batches between checkpoints, 0 for none; default: as often as 2 percent of the time allow",
        "records",
        minimum=0,
        metavar="N",
    )
    no_cache: bool = option(
        False, "compute again what methods prepare from source images", "records"
    )
    track: str = option(
        "none",
        "also send figures, as they come, to a program that draws them",
        "records",
        choices=("none", "tensorboard", "wandb"),
    )
    metric: str = option(
        "error", "figure that tables show", "records", choices=("error", "accuracy")
    )

    UNRECORDED = (
        "data_dir",
        "decoded_cache",
        "classes",
        "class_order",
        "workers",
        "output",
        "force",
        "resume",
        "checkpoint_every",
        "no_cache",
        "track",
        "metric",
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = as_declared(getattr(self, field.name), hints[field.name])
            if hints[field.name] == NAMES and not field.metadata["parse"]:
                check_type(field.name, value, NAMES, "RunConfig")
            may_be_none = type(None) in get_args(hints[field.name])
            is_given = value is not None or not may_be_none
            if field.metadata["parse"] and is_given and not is_empty(value):
                value = field.metadata["parse"](value)
            object.__setattr__(self, field.name, value)
            check_value(field, value)
        self._check_together()

    def _check_together(self) -> None:
        """Refuse options that contradict each other, or lack what they need."""
        check_together(self.resize, self.crop)
        check_pacing(self)
        if self.estimate_dropout is not None and "aetta" not in (self.estimate or ()):
            raise UserError("--estimate-dropout belongs to --estimate aetta: pass that too")
        if self.window > 1 and self.batch_size != 1:
            raise UserError("--window needs --batch-size 1: it is for streams of single images")
        if self.resume and self.force:
            raise UserError("--resume goes on with a run and --force starts it over: pass one")
        if self.window > 1 and "consistency" in (self.evidence or ()):
            raise UserError("--evidence consistency needs whole batches: leave --window out")
        if self.window > 1 and self.estimate:
            raise UserError("--estimate is of whole batches: leave --window out")
        if self.reset_rule == "aetta" and "aetta" not in (self.estimate or ()):
            raise UserError("--reset-rule aetta goes by an estimate: add --estimate aetta")
        if (self.mean is None) != (self.std is None):
            raise UserError("--mean and --std belong together: pass both")
        if self.mean is not None:
            check_normalisation(spread(self.mean), spread(self.std), "--mean and --std")
        if self.precision == "tf32" and not has_tf32(self.device):
            raise UserError(NO_TF32.format(self.device))
        if self.compose is not None and self.domains not in (None, ("+".join(self.compose),)):
            raise UserError("--compose makes the only domain; leave --domains out")
        if self.unknown is None and (self.unknown_ratio, self.unknown_mix) != (None, None):
            raise UserError("--unknown-ratio and --unknown-mix say how --unknown is shown: pass it")
        if self.unknown is not None and self.unknown == self.dataset:
            raise UserError(
                f"--unknown {self.unknown} is the --dataset itself, whose images are of known "
                "classes; name a data set of other classes"
            )
        parted = self.adapt_samples is not None or self.adapt_classes is not None
        if self.unknown_mix == "paired" and (self.contiguous_batches or parted):
            raise UserError(
                "--unknown-mix paired lays out every batch by itself: leave --contiguous-batches, "
                "--adapt-samples and --adapt-classes out"
            )
        if self.classes is not None and self.class_order is not None:
            raise UserError("--classes tells the order of the classes: leave --class-order out")

    @property
    def stream_key(self) -> str | None:
        """What is the same for all runs that can share a stream; None for one that cannot.

        What is measured by the clock is measured alone, and one process sends one run to wandb.
        """
        measures = self.stream_rate is not None and self.cost == "measured"
        if measures or self.track == "wandb":
            return None
        values = self.to_mapping()
        return repr({name: values[name] for name in values if name not in OF_A_METHOD})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str) -> RunConfig:
        """Return a configuration from plain values, such as those of a YAML file.

        Args:
            values: by field name; lists are taken for tuples.
            origin: where they come from, for messages.

        Raises:
            UserError: an unknown name, a wrong type or a value out of range.
        """
        names = {field.name: field.metadata["parse"] for field in dataclasses.fields(cls)}
        for name in values:
            if name not in names:
                raise UserError(
                    f"{origin} has an unknown option {name!r}; {_known_otherwise(name, names)}"
                )
        hints = get_type_hints(cls)
        converted = {name: as_declared(value, hints[name]) for name, value in values.items()}
        for name, value in converted.items():
            if not names[name]:  # else its own parser says what it takes
                check_type(name, value, hints[name], origin)
        return cls(**converted)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values from which :meth:`from_mapping` makes this again."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the options in a YAML file.

    Raises:
        UserError: the file is missing or is not a mapping, or a name in it is not text.
    """
    values = parse_yaml(read_text(path, "options"), repr(str(path)))
    if not isinstance(values, dict):
        raise UserError(f"{str(path)!r} must hold a mapping of option names to values")
    for name in _names(values):
        if not isinstance(name, str):
            raise UserError(
                f"{str(path)!r} has {name!r} where a name is expected; put it in quotes"
            )
    return values


def _names(values: Any) -> Iterator[Any]:
    """Yield the keys of all mappings in what YAML has read."""
    if isinstance(values, dict):
        yield from values
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _names(value)


def with_settings(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by name with the hyper-parameters ``settings`` over those in ``set``."""
    before = values.get("set")
    if before is None:
        before = {}
    if not isinstance(before, Mapping):  # left for the check of types to refuse
        return dict(values)
    return {**values, "set": {**before, **settings}}
