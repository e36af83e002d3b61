r"""Train the source model of the embedded digits on a canvas, from a seed.

    python data_scripts/train_digits_seg.py

writes the file that the package ships. Pictures are made anew of the source scans all the time, so
that the network sees none twice; those of the data set itself are not among them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.datasets.dense.digits_seg import WEIGHTS, SourceDigitsOnCanvas, canvases
from tta.datasets.dense.digits_seg import CorruptedDigitsOnCanvas as TestDigits
from tta.datasets.digits import split_rows
from tta.datasets.images import to_unit_range
from tta.source.segmentation import pixel_counts, pixel_loss
from tta.tasks.confusion import mean_iou, pixel_accuracy

_FIRST_SEED = 1000


def main() -> None:
    """Train, report the clean mIoU on both splits, and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="of --batch pictures")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-3, help="greatest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    began = time.perf_counter()
    backbone = create_backbone("digits_segnet", pretrained=False)
    backbone.to(memory_format=torch.channels_last)
    train(backbone, options.steps, options.batch, options.lr, options.seed)
    print(f"trained in {time.perf_counter() - began:.1f} s")
    for dataset in (SourceDigitsOnCanvas(), TestDigits()):
        counts = pixel_counts(backbone, *dataset.clean_pictures, dataset.ignore_label)
        print(
            f"clean pictures of {dataset.name}: mIoU {100 * mean_iou(counts):.2f} %, "
            f"pixel accuracy {100 * pixel_accuracy(counts):.2f} %"
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in backbone.model.state_dict().items()}, options.output)
    print(f"wrote {options.output} ({options.output.stat().st_size / 2**20:.2f} MiB)")


def train(backbone: Backbone, steps: int, batch: int, lr: float, seed: int) -> None:
    """Train in place with AdamW and a one-cycle schedule."""
    backbone.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(backbone.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    done = epoch = 0
    while done < steps:
        images, labels = canvases(split_rows(source=True), _FIRST_SEED * (seed + 1) + epoch)
        epoch += 1
        for shown, truth in zip(images.split(batch), labels.split(batch), strict=True):
            if len(shown) < batch or done == steps:
                continue
            loss = pixel_loss(backbone(to_unit_range(shown)), truth, 255)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            if done % 50 == 0:
                print(f"step {done}: loss {loss.item():.4f}", flush=True)
    backbone.requires_grad_(False).eval()


if __name__ == "__main__":
    main()
