r"""Train the source models of the embedded digits benchmark, from a seed.

    python data_scripts/train_digits.py
    python data_scripts/train_digits.py --model cifar_resnet32 \
        --output tta/datasets/assets/digits_cifar_resnet32.safetensors
    python data_scripts/train_digits.py --model digits_vit --steps 1200 --lr 0.001 \
        --output tta/datasets/assets/digits_vit.safetensors

write the files that the package ships: the source model, the larger one that edge-cloud methods
have in the cloud, and a vision transformer for methods that need one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import trange

import tta.backbones.nets  # noqa: F401 - registers the nets of this package in timm
from tta.backbones import wrap_model
from tta.datasets.digits import WEIGHTS, load_digits_rgb, split_rows


def main() -> None:
    """Train, report clean accuracy on the test split, and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="test_resnet", help="timm model name")
    parser.add_argument("--steps", type=int, default=225, help="of batch 60")
    parser.add_argument("--lr", type=float, default=3e-3, help="greatest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    model = timm.create_model(options.model, num_classes=10)
    train(model, *_split(source=True), options.steps, options.lr)
    images, labels = _split(source=False)
    with torch.no_grad():
        accuracy = (wrap_model(model)(images).argmax(1) == labels).float().mean().item()
    print(f"clean test accuracy {100 * accuracy:.2f} %")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), options.output)
    print(f"wrote {options.output} ({options.output.stat().st_size / 2**20:.2f} MiB)")


def _split(source: bool) -> tuple[Tensor, Tensor]:
    images, labels = load_digits_rgb()
    rows = torch.from_numpy(split_rows(source))
    return images[rows].float() / 255, torch.from_numpy(labels)[rows]


def train(
    model: nn.Module, images: Tensor, labels: Tensor, steps: int, lr: float, batch: int = 60
) -> None:
    """Train ``model`` in place with AdamW and a one-cycle schedule; images in [0, 1]."""
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    model.train()
    for _ in trange(steps, desc="training"):
        rows = torch.randint(len(images), (batch,))
        loss = F.cross_entropy(model((images[rows] - mean) / std), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


if __name__ == "__main__":
    main()
