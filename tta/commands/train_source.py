r"""Train a source model on one or several domains: ERM, or with --drm a head per domain.

    python -m tta.train_source --drm --dataset digits-r --output digits.safetensors
    python -m tta.train_source --drm --dataset folder:PACS --held-out sketch \
        --backbone resnet50 --weights imagenet.safetensors --lr 5e-5 --output sketch.safetensors

A part of every training domain is kept out of training, and the accuracy on it printed. The file
is one safetensors file; tta/backbones/domain_heads.py and the metadata in its header tell its
keys, and what the outputs are called where the classes have names. The domain that was left out is
then the test stream:

    python -m tta.run --method drm --dataset folder:PACS --domains sketch \
        --backbone resnet50 --num-classes 7 --weights sketch.safetensors

Methods other than drm take the file too; they see the shared head alone. With --instance-aware
batch-norm layers are those of NOTE; such a file is for the methods note and source. With --adapters
the attention of a vision transformer has ViDA's adapters, which start at zero and are trained with
all else; the method vida needs such a file, and others take it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tta.commands.cli import Parser, guarded
from tta.config import RunConfig
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.text import printable
from tta.foundation.waiting import choose_waiting
from tta.source.recipe import Recipe

if TYPE_CHECKING:
    from tta.datasets import Dataset


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Train, report accuracy per domain on the validation part, and save."""
    options = parser(prog).parse_args(arguments)
    names = [field.name for field in dataclasses.fields(Recipe)]
    recipe = Recipe(**{name: getattr(options, name) for name in names})
    _train(options, recipe)
    print(f"wrote {options.output} ({options.output.stat().st_size / 2**20:.2f} MiB)")
    return 0


def _train(options: argparse.Namespace, recipe: Recipe) -> None:
    choose_waiting()
    import torch  # here: --help goes without

    from tta.datasets.subset import Subset, split_validation
    from tta.experiment.class_numbers import class_names
    from tta.experiment.showing import described, show
    from tta.source.models import make_folder, save_source_model
    from tta.source.training import accuracy, initial_backbone, train

    domains = training_domains(options.dataset, options.held_out)
    name = options.backbone or domains.benchmark.backbone
    if name is None:
        raise UserError("pass --backbone NAME: this dataset has no backbone of its own")
    make_folder(options.output)
    backbone = initial_backbone(name, domains.num_classes, options.weights, recipe.seed)
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    first = domains.domains[0], domains.severities[0]
    geometry = show(RunConfig(), domains, first, backbone, from_file=True)  # as tta.run will
    for words in described(geometry, domains, backbone).values():
        print(printable(f"images: {words}"), file=sys.stderr)
    training, validation = split_validation(
        Subset(domains, dict.fromkeys(domains.domains)), recipe.validation_fraction, recipe.seed
    )
    train(backbone, training, recipe, progress=sys.stderr.isatty())
    backbone.label_names = class_names(domains)
    for domain in validation.domains if recipe.validation_fraction else ():
        found = accuracy(backbone, Subset(validation, {domain: None}))
        print(printable(f"validation accuracy, {domain}: {100 * found:.2f} %"))
    save_source_model(backbone, options.output, training.domains, recipe)


def training_domains(specification: str, held_out: str | None) -> Dataset:
    """Return the domains to train on: the source split of a data set that has one.

    Args:
        specification: of the data set, as for ``tta.run --dataset``.
        held_out: the domain to leave out, or None.

    Raises:
        UserError: there is no such data set or domain.
    """
    from tta.datasets import leaves_one_out, open_dataset

    if held_out and leaves_one_out(specification):
        specification, held_out = f"{specification}:{held_out}", None
    dataset = open_dataset(specification)
    source = dataset.benchmark.source
    dataset = open_dataset(source) if source else dataset
    if held_out and held_out not in dataset.domains:
        hint = did_you_mean(held_out, dataset.domains)
        raise UserError(f"dataset {dataset.name!r} has no domain {held_out!r}; {hint}")
    return without(dataset, held_out) if held_out else dataset


def without(dataset: Dataset, domain: str) -> Dataset:
    """Return all domains but one."""
    from tta.datasets.subset import Subset

    return Subset(dataset, {name: None for name in dataset.domains if name != domain})


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    recipe = Recipe()
    made.add_argument("--drm", action="store_true", help="train a head per domain as well")
    made.add_argument("--dataset", default="digits-r", help="NAME, arrays:PATH or folder:PATH")
    made.add_argument("--held-out", metavar="DOMAIN", help="domain to leave out of training")
    made.add_argument("--backbone", metavar="NAME", help="timm model; default: the dataset's")
    made.add_argument("--weights", metavar="FILE", help="pretrained weights to start from")
    made.add_argument("--steps", type=int, default=recipe.steps)
    made.add_argument(
        "--batch-size", type=int, default=recipe.batch_size, help="images per domain and step"
    )
    made.add_argument("--lr", type=float, default=recipe.lr, help="of Adam")
    made.add_argument("--weight-decay", type=float, default=recipe.weight_decay)
    made.add_argument(
        "--freeze-batch-norm", action="store_true", help="keep the pretrained running statistics"
    )
    made.add_argument(
        "--instance-aware", action="store_true", help="train with the batch norm that note needs"
    )
    made.add_argument(
        "--adapters", action="store_true", help="train with the adapters that vida needs"
    )
    made.add_argument("--validation-fraction", type=float, default=recipe.validation_fraction)
    made.add_argument("--seed", type=int, default=recipe.seed)
    made.add_argument("--output", type=Path, required=True, metavar="FILE")
    return made
