"""Training of source models on labelled images of one or several domains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from tta.backbones import create_backbone, wrap_model
from tta.backbones.adapters import insert_adapters
from tta.backbones.backbone import Backbone
from tta.backbones.domain_heads import DomainHeads
from tta.datasets import Dataset
from tta.datasets.subset import Subset
from tta.foundation.errors import UserError
from tta.ops.generators import seeded_layers
from tta.ops.norm.batch_norm import batch_norm_layers, following, replace_batch_norm
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm, instance_aware_layers
from tta.source.prototypes import class_prototypes
from tta.source.recipe import Recipe
from tta.source.source_data import SourceBatches, SourceData


def initial_backbone(
    name: str, num_classes: int, weights: str | Path | None = None, seed: int = 0
) -> Backbone:
    """Return a network to train: random weights, or those of a checkpoint under a new classifier.

    Args:
        name: any timm name or a net of ``tta.backbones.nets``.
        num_classes: outputs of the new classifier.
        weights: a checkpoint of the architecture as it is configured, such as for ImageNet.
        seed: of all that is random.

    Raises:
        UserError: an unknown name, weights that do not fit, or a network that cannot be split
            into features and a linear head.
    """
    model = create_backbone(name, weights=weights, pretrained=False).model
    with seeded_layers(seed):
        if weights is None:
            model = timm.create_model(name, num_classes=num_classes)
        else:
            model.reset_classifier(num_classes)
        return wrap_model(model, name)


def train(backbone: Backbone, dataset: Dataset, recipe: Recipe, progress: bool = False) -> None:
    """Train ``backbone`` in place on all domains of ``dataset``, and leave it frozen.

    With ``recipe.drm``, over K domains, each with its own head h_k, and the shared head h:

        L = 1/K sum_k [CE(h_k(g(x_k)), y_k) + CE(h(g(x_k)), y_k)] / 2

    DRM (Zhang et al., KDD 2023); otherwise ``1/K sum_k CE(h(g(x_k)), y_k)``, that is ERM. The
    domain discriminator learns beside, on detached features. Unlike in the released code, one
    forward pass takes the batches of all domains, so that batch norm sees the mixture that its
    running statistics will describe; and the mean features are those of the finished network
    over all training images, not of the last batches.

    Raises:
        UserError: ``recipe.drm`` with fewer than two domains; ``recipe.adapters`` and another
            network than a vision transformer.
    """
    _check_domains(dataset, recipe)
    if recipe.adapters and not insert_adapters(backbone.model, seed=recipe.seed):
        raise UserError(
            f"adapters go into the attention of a vision transformer of timm, and backbone "
            f"{backbone.name!r} is none; choose one (digits_vit), or leave --adapters out"
        )
    sources = _sources(backbone, dataset, recipe)
    with seeded_layers(recipe.seed):
        if recipe.drm:
            heads = DomainHeads(len(sources), backbone.feature_dim, backbone.num_classes)
            backbone.attach(heads)
        if recipe.instance_aware:
            replace_batch_norm(backbone, InstanceAwareBatchNorm)
        with _training_mode(backbone, recipe.freeze_batch_norm):
            _descend(backbone, [SourceBatches(source) for source in sources], recipe, progress)
    if recipe.drm:
        backbone.domain_heads.means.copy_(_mean_features(backbone, sources))
    backbone.update_digest()


def _sources(backbone: Backbone, dataset: Dataset, recipe: Recipe) -> list[SourceData]:
    layout = torch.channels_last  # a third faster for convolutions, and no matter to others
    device = next(backbone.to(memory_format=layout).parameters()).device
    # A seed per domain: domains that show the same scenes must not show them in the same step.
    seeds = [recipe.seed * len(dataset.domains) + k for k in range(len(dataset.domains))]
    return [
        SourceData(Subset(dataset, {domain: None}), recipe.batch_size, seed, device, layout)
        for domain, seed in zip(dataset.domains, seeds, strict=True)
    ]


def _check_domains(dataset: Dataset, recipe: Recipe) -> None:
    if recipe.drm and len(dataset.domains) < 2:
        raise UserError(
            f"DRM trains a head per source domain, and {dataset.name!r} leaves "
            f"{len(dataset.domains)} to train on; give it at least two, or train without --drm"
        )


def _descend(
    backbone: Backbone, batches: list[SourceBatches], recipe: Recipe, progress: bool
) -> None:
    trained = [*backbone.model.parameters()]
    discriminator = None
    if recipe.drm:
        trained += backbone.domain_heads.heads.parameters()
        discriminator = _adam(list(backbone.domain_heads.discriminator.parameters()), recipe)
    optimizer = _adam(trained, recipe)
    for _ in trange(recipe.steps, desc="training", disable=not progress):
        images, labels = zip(*(next(stream) for stream in batches), strict=True)
        features = backbone.features(torch.cat(images)).split([len(part) for part in labels])
        _step(optimizer, _risk(backbone, features, labels))
        if discriminator is not None:
            _step(discriminator, _domain_loss(backbone.domain_heads, features))


def _risk(backbone: Backbone, features: tuple[Tensor, ...], labels: tuple[Tensor, ...]) -> Tensor:
    shared = [F.cross_entropy(backbone.head(x), y) for x, y in zip(features, labels, strict=True)]
    if backbone.domain_heads is None:
        return torch.stack(shared).mean()
    parts = zip(backbone.domain_heads.heads, features, labels, strict=True)
    own = [F.cross_entropy(head(x), y) for head, x, y in parts]
    return torch.stack(shared + own).mean()


def _domain_loss(heads: DomainHeads, features: tuple[Tensor, ...]) -> Tensor:
    domain = [torch.full_like(part[:, 0], k, dtype=torch.long) for k, part in enumerate(features)]
    logits = heads.discriminator(torch.cat(features).detach())
    return F.cross_entropy(logits, torch.cat(domain))


def _adam(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, recipe.lr, weight_decay=recipe.weight_decay)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@torch.no_grad()
def _mean_features(backbone: Backbone, sources: list[SourceData]) -> Tensor:
    def of_domains() -> Iterator[tuple[Tensor, Tensor]]:
        for number, source in enumerate(sources):
            for images, labels in source.one_pass():
                yield backbone.features(images), torch.full_like(labels, number)

    return class_prototypes(of_domains(), len(sources), limit=sum(map(len, sources)))


@contextlib.contextmanager
def _training_mode(backbone: Backbone, freeze_batch_norm: bool) -> Iterator[None]:
    backbone.requires_grad_(True).train()
    if freeze_batch_norm:
        for _, layer in batch_norm_layers(backbone):
            layer.eval()
    try:
        with following([] if freeze_batch_norm else instance_aware_layers(backbone)):
            yield
    finally:
        backbone.requires_grad_(False).eval()


@torch.no_grad()
def accuracy(backbone: Backbone, dataset: Dataset) -> float:
    """Return the shared head's accuracy on a data set, a fraction."""
    correct = total = 0
    device = next(backbone.parameters()).device
    for images, labels in SourceData(
        dataset, dataset.benchmark.batch_size, device=device
    ).one_pass():
        correct += int((backbone(images).argmax(1) == labels).sum())
        total += len(labels)
    return correct / total
