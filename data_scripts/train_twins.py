r"""Train twins of one network on clean and on corrupted source images, from the same weights.

    python data_scripts/train_twins.py --output twins
    python data_scripts/train_twins.py --corruptions fog,gaussian_noise --severity 3 --output twins

write twins/clean.safetensors and twins/CORRUPTION.safetensors, of which weight_vectors.py beside it
makes robust weight signatures or task vectors. Each is a checkpoint that `tta run --weights` takes.
Twins start from the data set's own source model, or from --weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.commands.train_source import training_domains
from tta.config import RunConfig
from tta.corruptions import CORRUPTIONS
from tta.datasets import open_dataset
from tta.datasets.subset import Subset, split_validation
from tta.experiment.showing import show
from tta.foundation.errors import UserError, message_of
from tta.source.models import make_folder, save_source_model
from tta.source.recipe import Recipe
from tta.source.training import accuracy
from tta.source.twins import (
    CLEAN,
    CorruptedSource,
    check_corruption,
    check_severity,
    train_twin,
)


def main() -> int:
    """Train and write the twins; bad input is said in one line."""
    try:
        _train(_options())
    except UserError as error:
        print(f"error: {message_of(error)}", file=sys.stderr)
        return 2
    return 0


def _train(options: argparse.Namespace) -> None:
    corruptions = options.corruptions.split(",") if options.corruptions else CORRUPTIONS
    for name in corruptions:
        check_corruption(name)
    check_severity(options.severity)
    make_folder(options.output / "any")
    clean = training_domains(options.dataset, None)
    start = _start(options)
    show(RunConfig(), clean, (clean.domains[0], clean.severities[0]), start, from_file=True)
    shown = Subset(CorruptedSource(clean, options.severity), dict.fromkeys((CLEAN, *corruptions)))
    recipe = Recipe(
        False,
        options.steps,
        options.batch_size,
        options.lr,
        validation_fraction=options.validation_fraction,
        seed=options.seed,
    )
    training, validation = split_validation(shown, recipe.validation_fraction, recipe.seed)
    for name in shown.domains:
        twin = train_twin(start, training, name, recipe)
        file = options.output / f"{name}.safetensors"
        save_source_model(twin, file, (name,), recipe)
        print(f"{file}: {_accuracies(twin, validation, name)}", flush=True)


def _accuracies(twin: Backbone, validation: Subset, name: str) -> str:
    """Return in words how accurate a twin is on held-out images."""
    if not len(validation.labels(CLEAN, validation.default_severity)):
        return "trained on all images"
    held = {domain: accuracy(twin, Subset(validation, {domain: None})) for domain in (CLEAN, name)}
    return ", ".join(f"{100 * found:.2f} % on {domain}" for domain, found in held.items())


def _start(options: argparse.Namespace) -> Backbone:
    dataset = open_dataset(options.dataset)
    benchmark = dataset.benchmark
    name, weights = options.backbone or benchmark.backbone, options.weights
    if name is None:
        raise UserError("pass --backbone NAME: this dataset has no backbone of its own")
    if weights is None and options.backbone is None:
        weights = benchmark.weights
    return create_backbone(name, weights=weights, num_classes=dataset.num_classes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="digits-c", help="whose source images are used")
    parser.add_argument("--backbone", metavar="NAME", help="default: the data set's")
    parser.add_argument("--weights", metavar="FILE", help="to start from")
    parser.add_argument("--corruptions", metavar="NAME,...", help="default: the common fifteen")
    parser.add_argument("--severity", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3, help="of Adam")
    parser.add_argument("--validation-fraction", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0, help="of that part and the images' order")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
