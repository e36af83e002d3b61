r"""Merge networks that were fine-tuned from one initialisation into one source model.

    python data_scripts/merge.py greedy a.safetensors b.safetensors c.safetensors \
        --dataset digits-c --output soup.safetensors
    python data_scripts/merge.py uniform a.safetensors b.safetensors --statistics estimate ...
    python data_scripts/merge.py fisher a.safetensors b.safetensors --shares 0.7 0.3 ...

print the accuracy of every network and of what they were merged to, on the part of the source
images that was kept out of training, and write a checkpoint that `tta run --weights` takes. Its
header says which networks are in it; a run's record repeats that. The validation part follows from
--validation-fraction and --seed, as in `tta train_source`: use the values of the training.

Soups are those of Wortsman et al. (ICML 2022), `fisher` is Matena and Raffel (NeurIPS 2022);
--grid tries so many shares of two networks and takes the best on the validation part.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.backbones.checkpoint_file import read_checkpoint
from tta.backbones.merged_words import Ingredient, merged_metadata
from tta.commands.train_source import training_domains
from tta.config import RunConfig
from tta.datasets import Dataset
from tta.datasets.subset import Subset, split_validation
from tta.experiment.showing import show
from tta.foundation.errors import UserError, message_of
from tta.foundation.inputs import check_once
from tta.source.alike import check_networks
from tta.source.fisher import fisher_diagonal
from tta.source.merging import average, fisher_merge, greedy_soup, shares_of
from tta.source.models import make_folder, write_network
from tta.source.source_data import SourceData
from tta.source.statistics import estimate_statistics
from tta.source.training import accuracy

State = dict[str, Tensor]
BATCH = 64


@dataclass(frozen=True)
class Merged:
    """What came of merging.

    Attributes:
        how: in words.
        shares: of the networks, by number.
        state: the weights.
    """

    how: str
    shares: dict[int, float]
    state: State


class Kitchen:
    """The networks, and the source images by which they are judged.

    Args:
        files: checkpoints, at least two.
        domains: source images.
        backbone: architecture; None for the data set's own.
        fraction: of the images that were kept out of training.
        seed: of that part.
        estimate: whether running statistics are estimated anew for each merged network.

    Attributes:
        networks: by their file.
        accuracies: of them on the validation part, fractions; None where that is empty.
    """

    def __init__(
        self,
        files: Sequence[Path],
        domains: Dataset,
        backbone: str | None,
        fraction: float,
        seed: int,
        estimate: bool,
    ) -> None:
        self.networks = {file: _network(file, domains, backbone) for file in files}
        for file in files:
            _check_recipe(file, fraction, seed)
        check_networks({str(file): one for file, one in self.networks.items()})
        self.scratch = _scratch(list(self.networks.values()))
        show(RunConfig(), domains, (domains.domains[0], domains.severities[0]), self.scratch, True)
        whole = Subset(domains, dict.fromkeys(domains.domains))
        self.training, self.validation = split_validation(whole, fraction, seed)
        self.estimate = estimate
        held_out = any(
            len(self.validation.labels(domain, self.validation.default_severity))
            for domain in self.validation.domains
        )
        self.accuracies = (
            [accuracy(one, self.validation) for one in self.networks.values()] if held_out else None
        )

    @property
    def states(self) -> list[State]:
        """State dicts of the networks."""
        return [one.model.state_dict() for one in self.networks.values()]

    def judge(self, state: State) -> float:
        """Return the accuracy of merged weights, which are the scratch network's afterwards."""
        self.take(state)
        return accuracy(self.scratch, self.validation)

    def take(self, state: State) -> None:
        """Let merged weights be the scratch network's."""
        self.scratch.model.load_state_dict(state)
        if self.estimate:
            estimate_statistics(self.scratch, self.images())

    def needed_accuracies(self, by: str) -> list[float]:
        """Return accuracies of the networks; refuse where there are no images to judge by."""
        if self.accuracies is None:
            raise UserError(
                f"{by} chooses by accuracy on images that were kept out of training, and "
                "--validation-fraction keeps none; merge with uniform, or fisher without --grid"
            )
        return self.accuracies

    def images(self, count: int | None = None) -> Iterator[Tensor]:
        """Yield batches of training images, ``count`` of them or all."""
        data = SourceData(self.training, BATCH)
        return data.first_images(len(data) if count is None else count)


def main() -> int:
    """Merge; bad input is said in one line."""
    try:
        _merge(_options())
    except UserError as error:
        print(f"error: {message_of(error)}", file=sys.stderr)
        return 2
    return 0


def _merge(options: argparse.Namespace) -> None:
    """Merge, say what that came to, and write the file."""
    _check(options)
    make_folder(options.output)
    domains = training_domains(options.dataset, None)
    kitchen = Kitchen(
        options.files,
        domains,
        options.backbone,
        options.validation_fraction,
        options.seed,
        options.statistics == "estimate",
    )
    if kitchen.accuracies is not None:
        for file, found in zip(options.files, kitchen.accuracies, strict=True):
            print(f"{file}: {100 * found:.2f} %")
    merged = WAYS[options.way](kitchen, options)
    words = f"{merged.how} of {len(merged.shares)} networks"
    if kitchen.accuracies is None:
        kitchen.take(merged.state)
        print(f"{words}, not judged: no images were kept out of training")
    else:
        print(f"{words}: {100 * kitchen.judge(merged.state):.2f} %")
    save(kitchen, merged, options.output)
    print(f"wrote {options.output} ({options.output.stat().st_size / 2**20:.2f} MiB)")


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not fit, before anything is read."""
    check_once(options.files)
    if not 0 <= options.validation_fraction < 1:
        raise UserError(
            f"--validation-fraction {options.validation_fraction}: it is at least 0 and below 1"
        )
    if options.samples < 1:
        raise UserError(f"--samples {options.samples}: Fisher information takes at least one image")
    if not 0 <= options.floor < math.inf:
        raise UserError(f"--floor {options.floor}: it is at least 0, and finite")
    if options.shares is not None and options.grid is not None:
        raise UserError("--grid tries shares, and --shares gives them; pass one of the two")
    if options.way != "fisher" and (options.shares, options.grid) != (None, None):
        raise UserError(f"--shares and --grid are of fisher, and {options.way} has none")
    _grid(options, len(options.files))


def uniform(kitchen: Kitchen, options: argparse.Namespace) -> Merged:
    """Merge all networks alike."""
    states = kitchen.states
    shares = dict.fromkeys(range(len(states)), 1 / len(states))
    return Merged("uniform soup", shares, average(states))


def greedy(kitchen: Kitchen, options: argparse.Namespace) -> Merged:
    """Merge those that make the soup better."""
    accuracies = kitchen.needed_accuracies("greedy")
    soup = greedy_soup(kitchen.states, accuracies, kitchen.judge)
    shares = dict.fromkeys(soup.members, 1 / len(soup.members))
    return Merged("greedy soup", shares, soup.state)


def fisher(kitchen: Kitchen, options: argparse.Namespace) -> Merged:
    """Merge by how much each weight matters, with given shares or the best of a grid."""
    states = kitchen.states
    tried = _grid(options, len(states))
    if len(tried) > 1:
        kitchen.needed_accuracies("--grid")
    matter = [
        fisher_diagonal(one, kitchen.images(options.samples)) for one in kitchen.networks.values()
    ]
    merged = [fisher_merge(states, matter, shares, floor=options.floor) for shares in tried]
    found = [kitchen.judge(state) for state in merged] if len(tried) > 1 else [0.0]
    best = found.index(max(found))
    return Merged("Fisher-weighted mean", dict(enumerate(tried[best])), merged[best])


WAYS: dict[str, Callable[[Kitchen, argparse.Namespace], Merged]] = {
    "uniform": uniform,
    "greedy": greedy,
    "fisher": fisher,
}


def _grid(options: argparse.Namespace, count: int) -> list[list[float]]:
    """Return the shares to try, each of ``count`` networks."""
    if options.grid is None:
        return [shares_of(options.shares, count)]
    if count != 2 or options.grid < 2:
        raise UserError("--grid tries at least two shares of exactly two networks")
    steps = options.grid - 1
    return [[1 - number / steps, number / steps] for number in range(options.grid)]


def _network(file: Path, domains: Dataset, name: str | None) -> Backbone:
    name = name or domains.benchmark.backbone
    if name is None:
        raise UserError("pass --backbone NAME: this dataset has no backbone of its own")
    network = create_backbone(name, weights=file, num_classes=domains.num_classes)
    if network.domain_heads is not None:
        raise UserError(f"{file} has a head for each of several domains; merge others")
    return network


def _check_recipe(file: Path, fraction: float, seed: int) -> None:
    """Refuse a validation part on which a network was trained, where its file tells."""
    recipe = _recipe(file)
    trained = recipe.get("validation_fraction", fraction), recipe.get("seed", seed)
    if trained != (fraction, seed):
        raise UserError(
            f"{file} was trained with --validation-fraction {trained[0]} --seed {trained[1]}: "
            "its training images are among those of the validation part here; pass the same"
        )


def _recipe(file: Path) -> dict[str, Any]:
    """Return the recipe in a checkpoint's header; nothing where there is none."""
    try:
        found = json.loads(read_checkpoint(file).metadata.get("recipe", "{}"))
    except (ValueError, RecursionError):  # somebody else's
        return {}
    return found if isinstance(found, dict) else {}


def _scratch(networks: Sequence[Backbone]) -> Backbone:
    """Return a copy of the first of alike networks; outputs are named as any of them names them."""
    scratch = networks[0].clone()
    named = [one.label_names for one in networks if one.label_names is not None]
    scratch.label_names = named[0] if named else None
    return scratch


def save(kitchen: Kitchen, merged: Merged, path: Path) -> None:
    """Write the scratch network, which :meth:`Kitchen.judge` has made the merged one."""
    files = list(kitchen.networks)
    parts = [
        Ingredient(
            str(files[number]),
            kitchen.networks[files[number]].weights_sha256,
            share,
            None if kitchen.accuracies is None else kitchen.accuracies[number],
        )
        for number, share in merged.shares.items()
    ]
    how = merged.how + (" with statistics estimated anew" if kitchen.estimate else "")
    write_network(kitchen.scratch, path, merged_metadata(how, parts))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("files", nargs="+", type=Path, help="checkpoints")
    parser.add_argument("--dataset", default="digits-c", help="whose source images are used")
    parser.add_argument("--backbone", metavar="NAME", help="default: the data set's")
    parser.add_argument("--statistics", choices=("average", "estimate"), default="average")
    parser.add_argument("--validation-fraction", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0, help="of the validation part")
    parser.add_argument("--shares", nargs="+", type=float, help="of each network, for fisher")
    parser.add_argument("--grid", type=int, help="shares of two networks to try, for fisher")
    parser.add_argument("--samples", type=int, default=256, help="images of the Fisher information")
    parser.add_argument("--floor", type=float, default=1e-6, help="least Fisher information")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    if len(options.files) < 2:
        parser.error("at least two checkpoints are merged")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
