"""From the name of a network that segments, and a checkpoint, to a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tta.backbones.checkpoint import load_checkpoint
from tta.backbones.checkpoint_file import read_checkpoint
from tta.backbones.dense.backbone import DenseBackbone
from tta.backbones.dense.making import Made, make_network
from tta.backbones.dense.names import OWN_DECODERS
from tta.backbones.model_card import ModelCard, choose_normalisation, read_card
from tta.backbones.names import check_architecture
from tta.foundation.errors import UserError


def create_dense(
    name: str,
    weights: str | Path | None,
    num_classes: int | None,
    class_subset: Sequence[int] | None,
    pretrained: bool | None,
    weights_kind: str,
    normalisation: tuple[Sequence[float], Sequence[float]] | None,
) -> DenseBackbone:
    """Make a network that segments: on the CPU, in eval mode, no parameter requiring a gradient.

    Args:
        name: ``KIND:NAME``, see :mod:`tta.backbones.dense.names`.
        weights: a checkpoint of this network, with the names of its own package.
        num_classes: outputs; by default what the checkpoint or ``config.json`` beside it says.
        class_subset: see ``tta.backbones.create_backbone``, as the others.
        pretrained: load torchvision's weights; by default, when no file is given.
        weights_kind: likewise.
        normalisation: likewise.

    Raises:
        UserError: an unknown name, weights that are missing or do not fit.
    """
    check_architecture(name)
    file = read_checkpoint(weights) if weights is not None else None
    card = read_card(file, name) if file else ModelCard()
    made = make_network(name, file, num_classes or card.num_classes)
    words = ""
    if file is not None:
        loaded = load_checkpoint(made.network, file, name, weights_kind, made.classifier)
        words = loaded.words
        if loaded.heads:
            raise UserError(f"checkpoint {weights} holds heads of domains, which {name!r} has not")
        if loaded.normalisation is not None:
            card = card.with_normalisation(*loaded.normalisation)
    elif pretrained is not False:
        _load_published(made, name, num_classes)
    mean, std, said = choose_normalisation(
        card, made.config, made.origin, normalisation, own_weights=file is not None
    )
    backbone = DenseBackbone(
        made.finish(made.network),
        name=name,
        input_size=card.input_size or made.config["input_size"],
        mean=mean,
        std=std,
        class_subset=class_subset,
    )
    backbone.label_names = card.label_names
    backbone.understood["normalisation"] = said
    if words:
        backbone.understood["weights"] = words
    return backbone


def _load_published(made: Made, name: str, num_classes: int | None) -> None:
    """Give a network of torchvision its published weights.

    Raises:
        UserError: there are none of that name or number of classes, or they cannot be had.
    """
    kind, _, rest = name.partition(":")
    if kind != "torchvision":
        whose = "this package's decoder" if kind in OWN_DECODERS else "that package"
        raise UserError(
            f"backbone {name!r} has no published weights for {whose}; pass --weights FILE, a "
            "checkpoint of it"
        )
    import torchvision

    published = torchvision.models.get_model_weights(rest).DEFAULT
    outputs = len(published.meta["categories"])
    if num_classes not in (None, outputs):
        raise UserError(
            f"backbone {name!r} was trained on {outputs} classes, {num_classes} are asked for; "
            "pass --weights FILE, trained on these"
        )
    try:
        state = published.get_state_dict(check_hash=True)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the weights of backbone {name!r} cannot be downloaded or loaded ({reason}); check "
            "the network, or pass --weights FILE"
        ) from error
    made.network.load_state_dict({key: state[key] for key in made.network.state_dict()})


def encoder_weights(network: nn.Module, whole: nn.Module) -> None:
    """Give the encoder of a network the weights of the same architecture that classifies.

    Args:
        network: an :class:`~tta.backbones.dense.decoders.EncoderDecoder`.
        whole: timm's model, or one with its names.

    Raises:
        UserError: the encoder has tensors that the other has not.
    """
    state, encoder = whole.state_dict(), network.encoder
    wanted = encoder.state_dict()
    absent = [key for key in wanted if key not in state or state[key].shape != wanted[key].shape]
    if absent:
        raise UserError(f"the weights of the encoder lack {', '.join(absent[:4])}")
    encoder.load_state_dict({key: state[key] for key in wanted})
