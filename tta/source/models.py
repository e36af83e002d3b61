"""Source models as files: written by training, and kept for the next run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from tta.backbones.backbone import Backbone
from tta.backbones.checkpoint import INSTANCE_AWARE
from tta.backbones.domain_heads import PREFIX
from tta.backbones.network_facts import header_facts
from tta.datasets import Dataset, open_dataset
from tta.datasets.subset import split_validation
from tta.foundation.cache import cache_folder
from tta.foundation.code_digest import code_digest
from tta.foundation.errors import UserError
from tta.foundation.files import write_atomically, written_aside
from tta.foundation.lock import FolderLock
from tta.foundation.version import __version__
from tta.ops.norm.instance_aware import THRESHOLD, instance_aware_layers
from tta.source.recipe import Recipe


def save_source_model(
    backbone: Backbone, path: Path, domains: tuple[str, ...], recipe: Recipe
) -> None:
    """Write a trained backbone, and its domain heads where it has them, as one safetensors file.

    Keys are those of the network's state dict and of ``tta.backbones.domain_heads``, and
    ``instance_aware_norm`` where its batch norm is instance-aware. The header's
    metadata tells what :func:`tta.backbones.network_facts.header_facts` lists, ``domains`` (a JSON
    list in the order of the heads), ``recipe`` (JSON) and the ``tta`` version.
    """
    facts = {"domains": json.dumps(domains), "recipe": json.dumps(dataclasses.asdict(recipe))}
    write_network(backbone, path, facts)


def write_network(backbone: Backbone, path: Path, facts: Mapping[str, str]) -> None:
    """Write a network so that it computes the same when it is loaded, with further facts.

    Keys are as :func:`save_source_model` says, its header as
    :func:`tta.backbones.network_facts.header_facts`.
    """
    state = backbone.model.state_dict()
    if backbone.domain_heads is not None:
        heads = backbone.domain_heads.state_dict()
        state |= {PREFIX + key: value for key, value in heads.items()}
    if instance_aware_layers(backbone):
        state[INSTANCE_AWARE] = torch.tensor(THRESHOLD)
    metadata = {**header_facts(backbone), "tta": __version__, **facts}
    with written_aside(path, shared=True) as aside:
        save_file({key: value.contiguous() for key, value in state.items()}, aside, metadata)


def make_folder(path: Path) -> None:
    """Make the folder of a file that training will write, before training starts.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {str(path)!r} ({error.strerror}); choose another folder: --output, or "
        "$TTA_CACHE_DIR for what is trained at first use"
    )


def own_weights(dataset: Dataset) -> str | None:
    """Return the checkpoint of a data set's own backbone, after training it where that is due.

    Raises:
        UserError: the cache folder cannot be written.
    """
    benchmark = dataset.benchmark
    if benchmark.weights is not None or not benchmark.train_at_first_use:
        return benchmark.weights
    from tta.source.training import Recipe  # torchvision, which most runs need not wait for

    recipe = Recipe()
    source = open_dataset(benchmark.source)
    folder = f"{dataset.name.replace(':', '_')}-{_key(dataset, source, recipe)}"
    path = cache_folder() / "source_models" / folder / "model.safetensors"
    if not _is_whole(path):
        make_folder(path)
        _train_once(dataset, source, recipe, path)
    return str(path)


def _seal(path: Path) -> Path:
    return path.with_name("sha256")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_whole(path: Path) -> bool:
    """Return whether a model is there as it was written; on any doubt it is trained again."""
    try:
        return _seal(path).read_text(encoding="utf-8") == _digest(path)
    except (OSError, ValueError):
        return False


def _train_once(dataset: Dataset, source: Dataset, recipe: Recipe, path: Path) -> None:
    """Train and save, or wait for another process that does."""
    try:
        lock = FolderLock(path.parent, wait=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        if _is_whole(path):
            return
        print(f"training the source model of {dataset.name} once, into {path}", file=sys.stderr)
        from tta.source.training import initial_backbone, train

        training, _ = split_validation(source, recipe.validation_fraction, recipe.seed)
        backbone = initial_backbone(
            dataset.benchmark.backbone, dataset.num_classes, seed=recipe.seed
        )
        train(backbone, training, recipe, progress=True)
        save_source_model(backbone, path, source.domains, recipe)
        write_atomically(_seal(path), _digest(path))
    finally:
        lock.release()


def _key(dataset: Dataset, source: Dataset, recipe: Recipe) -> str:
    facts = {
        "data": source.digest(),
        "backbone": dataset.benchmark.backbone,
        "classes": dataset.num_classes,
        "recipe": dataclasses.asdict(recipe),
        "code": code_digest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
