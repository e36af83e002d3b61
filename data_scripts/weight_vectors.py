r"""Make robust weight signatures, or task vectors, of networks that were trained from one start.

    python data_scripts/weight_vectors.py signatures --start source.safetensors --twins twins \
        --moments --bits 4 --output signatures.safetensors
    python data_scripts/weight_vectors.py tasks --start source.safetensors --twins twins \
        --output tasks.safetensors
    tta run --method rws --set signatures=signatures.safetensors
    tta run --method atlas --set vectors=tasks.safetensors

read twins/NAME.safetensors, as data_scripts/train_twins.py writes them, or any checkpoints of the
architecture under these names; twins/clean.safetensors is what signatures are made beside. Without
--start it is the data set's own source model. Signatures are of the first --layers layers, 7 as in
the paper's code; tasks of all.
With --moments the file also has the statistics of the source model's batch-norm inputs under each
corruption of the source images, by which `--set choice=statistics` chooses.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.commands.train_source import training_domains
from tta.config import RunConfig
from tta.datasets import open_dataset
from tta.datasets.subset import Subset
from tta.experiment.showing import show
from tta.foundation.errors import UserError, message_of
from tta.source.alike import COMPARED, check_networks
from tta.source.models import make_folder
from tta.source.moments import input_moments
from tta.source.source_data import SourceData
from tta.source.twins import CLEAN, CorruptedSource, check_corruption, check_severity
from tta.source.weight_vector_files import BITS, save_vectors
from tta.source.weight_vectors import (
    SOURCE,
    Vector,
    WeightVectors,
    difference,
    first_layers,
    signature,
)

LAYERS = {"signatures": 7, "tasks": None}


def main() -> int:
    """Make the file and say what it has; bad input is said in one line."""
    try:
        _make(_options())
    except UserError as error:
        print(f"error: {message_of(error)}", file=sys.stderr)
        return 2
    return 0


def _make(options: argparse.Namespace) -> None:
    if options.layers is not None and options.layers < 1:
        raise UserError(f"--layers {options.layers}: vectors are of at least one layer")
    check_severity(options.severity)
    make_folder(options.output)
    start = _network(options, options.start)
    files = {file.stem: file for file in sorted(options.twins.glob("*.safetensors"))}
    clean = files.pop(CLEAN, None)
    if not files or clean is None and options.kind == "signatures":
        raise UserError(f"{options.twins} holds no twins: train_twins.py writes them")
    twins = {name: _network(options, file) for name, file in files.items()}
    layers = LAYERS[options.kind] if options.layers is None else options.layers
    keys = first_layers(start.model, layers)
    if options.kind == "signatures":
        twins[CLEAN] = _network(options, clean)
    check_networks({"the start": start, **twins}, COMPARED)
    vectors = _vectors(_state(start), {name: _state(twin) for name, twin in twins.items()}, keys)
    moments = _moments(options, start, list(vectors)) if options.moments else {}
    found = WeightVectors(vectors, moments, start.weights_sha256)
    size = save_vectors(options.output, found, options.bits, {"architecture": start.name})
    values = sum(value.numel() for value in next(iter(vectors.values())).values())
    print(
        f"wrote {options.output}: {len(vectors)} {options.kind} of {len(keys)} tensors, {values} "
        f"values of {options.bits} bits each; {size} bytes, {size // len(vectors)} for each"
    )


def _vectors(start: Vector, states: dict[str, Vector], keys: list[str]) -> dict[str, Vector]:
    """Return signatures where the states have a clean twin, else task vectors."""
    clean = states.pop(CLEAN, None)
    if clean is None:
        return {name: difference(start, state, keys) for name, state in states.items()}
    return {name: signature(start, clean, state, keys) for name, state in states.items()}


def _state(network: Backbone) -> Vector:
    return network.model.state_dict()


def _network(options: argparse.Namespace, file: Path | None) -> Backbone:
    dataset = open_dataset(options.dataset)
    benchmark = dataset.benchmark
    name = options.backbone or benchmark.backbone
    if name is None:
        raise UserError("pass --backbone NAME: this dataset has no backbone of its own")
    if file is None and options.backbone is None:
        file = benchmark.weights
    return create_backbone(name, weights=file, num_classes=dataset.num_classes)


def _moments(options: argparse.Namespace, start: Backbone, names: list[str]) -> dict[str, Vector]:
    """Return the moments under each corruption, over all source images."""
    for name in names:
        check_corruption(name)
    clean = training_domains(options.dataset, None)
    show(RunConfig(), clean, (clean.domains[0], clean.severities[0]), start, from_file=True)
    shown = CorruptedSource(clean, options.severity)
    found = {}
    for name in (CLEAN, *names):
        data = SourceData(Subset(shown, {name: None}), 64)
        found[SOURCE if name == CLEAN else name] = input_moments(
            start, data.first_images(len(data))
        )
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=LAYERS)
    parser.add_argument("--start", type=Path, metavar="FILE", help="what twins were trained from")
    parser.add_argument("--twins", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dataset", default="digits-c")
    parser.add_argument("--backbone", metavar="NAME", help="default: the data set's")
    parser.add_argument("--layers", type=int, help="first layers that vectors are of")
    parser.add_argument("--bits", type=int, default=32, choices=BITS, help="of each value")
    parser.add_argument("--moments", action="store_true", help="measure statistics as well")
    parser.add_argument("--severity", type=int, default=5, help="of the images they are of")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
