r"""Train the image-text model of the embedded digits benchmark, from a seed.

    python data_scripts/train_digits_clip.py

writes the file that the package ships. Images are the clean source scans, moved a little; each
has the caption of its class under a template drawn for it. The loss is CLIP's with all images of
the class as positives: cross-entropy between rows, and columns, of the logits and equal shares of
the matching captions. Some captions name two digits, "three or five", and match images of both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from tqdm import trange

from tta.backbones.clip.digits_clip import TEMPLATES, WEIGHTS, DigitsClip, tokenize
from tta.backbones.clip.text_tower import TextTower
from tta.datasets.digits import NAMES, load_digits_rgb, split_rows

BATCH = 60
EITHER = 12
"""Captions of a batch that name two digits."""


def main() -> None:
    """Train, report clean accuracy on the test split, and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600, help=f"of batch {BATCH}")
    parser.add_argument("--lr", type=float, default=2e-3, help="greatest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    model = DigitsClip()
    train(model, *_split(source=True), options.steps, options.lr)
    print(f"clean test accuracy {100 * accuracy(model, *_split(source=False)):.2f} %")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    facts = {"classes": ",".join(NAMES), "templates": "\n".join(TEMPLATES)}
    save_file(model.state_dict(), options.output, facts)
    print(f"wrote {options.output} ({options.output.stat().st_size / 2**20:.2f} MiB)")


def _split(source: bool) -> tuple[Tensor, Tensor]:
    images, labels = load_digits_rgb()
    rows = torch.from_numpy(split_rows(source))
    return images[rows].float() / 255, torch.from_numpy(labels)[rows]


def train(model: DigitsClip, images: Tensor, labels: Tensor, steps: int, lr: float) -> None:
    """Train ``model`` in place with AdamW and a one-cycle schedule; images in [0, 1]."""
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    tower, scale = TextTower(model), model.logit_scale.exp().item()
    model.train()
    for _ in trange(steps, desc="training"):
        rows = torch.randint(len(images), (BATCH,))
        seen = model.visual((moved(images[rows]) - 0.5) / 0.5)
        texts, matches = captions(labels[rows])
        loss = contrastive_loss(scale * seen @ tower.encode(tokenize(texts)).T, matches)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def moved(images: Tensor) -> Tensor:
    """Turn each image by up to 8 degrees, scale it by up to 10 % and shift it by up to 5 %."""
    turn, scale, across, down = (2 * torch.rand(4, len(images)) - 1).unbind()
    turn, scale = turn * torch.pi * 8 / 180, 1 + 0.1 * scale
    cos, sin = scale * turn.cos(), scale * turn.sin()
    rows = [torch.stack([cos, -sin, 0.1 * across], 1), torch.stack([sin, cos, 0.1 * down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def captions(labels: Tensor) -> tuple[list[str], Tensor]:
    """Return a caption per image, and which images ``[B, B]`` (rows) each of them matches."""
    templates = [TEMPLATES[number] for number in torch.randint(len(TEMPLATES), (len(labels),))]
    named = F.one_hot(labels, len(NAMES)).bool()
    others = torch.randint(len(NAMES), (EITHER,))
    named[:EITHER] |= F.one_hot(others, len(NAMES)).bool()
    texts = []
    for template, label, row in zip(templates, labels.tolist(), named, strict=True):
        further = [number for number in row.nonzero().flatten().tolist() if number != label]
        texts.append(template.format(" or ".join(NAMES[n] for n in (label, *further))))
    return texts, named.T[labels]


def contrastive_loss(logits: Tensor, matches: Tensor) -> Tensor:
    """Return the mean cross-entropy of rows and of columns against equal shares of the matches."""
    shares = matches.float()
    by_image = F.cross_entropy(logits, shares / shares.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits.T, (shares / shares.sum(0)).T)
    return (by_image + by_text) / 2


@torch.no_grad()
def accuracy(model: DigitsClip, images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose nearest caption of the first template is that of the class.

    Args:
        model: in evaluation mode.
        images: ``[N, 3, 32, 32]`` in [0, 1].
        labels: ``[N]``.
    """
    texts = TextTower(model).encode(tokenize([TEMPLATES[0].format(name) for name in NAMES]))
    found = (model.visual((images - 0.5) / 0.5) @ texts.T).argmax(1)
    return (found == labels).float().mean().item()


if __name__ == "__main__":
    main()
