"""One linear head per source domain, beside the classifier that all domains share.

A source model trained on several domains (DRM) is one safetensors file: the network's own state
dict, whose classifier is the shared head, and under ``domain_heads.``

    heads.<k>.weight, heads.<k>.bias     the head of source domain k
    means                                mean training feature of every source domain, [K, D]
    discriminator.<layer>.weight, .bias  a perceptron that tells the source domains apart
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tta.foundation.errors import UserError

PREFIX = "domain_heads."
HIDDEN = 256


class DomainHeads(nn.Module):
    """The heads of K source domains, and what tells these domains apart.

    Args:
        domains: K, at least 2.
        feature_dim: D.
        num_classes: C.

    Attributes:
        heads: K linear layers from features ``[B, D]`` to logits ``[B, C]``.
        means: mean feature of every domain ``[K, D]``.
        discriminator: from features ``[B, D]`` to logits of the domains ``[B, K]``.
    """

    means: Tensor

    def __init__(self, domains: int, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(feature_dim, num_classes) for _ in range(domains))
        self.register_buffer("means", torch.zeros(domains, feature_dim))
        self.discriminator = nn.Sequential(
            nn.Linear(feature_dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, domains)
        )

    def __len__(self) -> int:
        return len(self.heads)


def split_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the network's part of a checkpoint, and that of the domain heads without prefix."""
    network = {key: value for key, value in state.items() if not key.startswith(PREFIX)}
    heads = {key.removeprefix(PREFIX): state[key] for key in state if key not in network}
    return network, heads


def load_heads(
    state: Mapping[str, Tensor], feature_dim: int, num_classes: int, path: str | Path
) -> DomainHeads:
    """Return the domain heads of a checkpoint.

    Args:
        state: their tensors, without prefix.
        feature_dim: D of the network beside them.
        num_classes: C of that network's classifier.
        path: the file, for messages.

    Raises:
        UserError: tensors are missing, unexpected or do not fit the network.
    """
    domains = sum(key.startswith("heads.") and key.endswith(".weight") for key in state)
    with torch.random.fork_rng(devices=[]):  # layer initialisation draws from the global RNG
        made = DomainHeads(domains, feature_dim, num_classes)
    try:
        made.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the domain heads in checkpoint {path} do not fit its network ({reason}); train it "
            "again with python -m tta.train_source --drm"
        ) from error
    return made
