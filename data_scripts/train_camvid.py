r"""Train a source model on CamVid's drives by day, from an encoder trained on ImageNet.

    python data_scripts/train_camvid.py --data-dir /data --encoder-weights lite0.safetensors \
        --output camvid.safetensors

Stage A keeps the encoder and trains the decoder on features that are computed once; stage B trains
the whole network, with the encoder's batch norm frozen for its first half and following CamVid
after, so that running statistics are those of the source data. The checkpoint is chosen by mIoU
on the validation frames.

Printed at the end: mIoU on the validation frames and on `camvid`'s two domains, in the size shown
and with label maps of 480x360, as published figures have them. Weights of CamVid are for research
and are not part of the package.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tta.backbones import create_backbone
from tta.backbones.dense.backbone import DenseBackbone
from tta.backbones.dense.loading import encoder_weights
from tta.datasets import Dataset, open_dataset
from tta.datasets.images import to_unit_range
from tta.ops.norm.batch_norm import batch_norm_layers
from tta.source.segmentation import (
    batches_of,
    labelled_images,
    median_frequency_weights,
    pixel_counts,
    pixel_loss,
    varied,
)
from tta.tasks.confusion import class_iou, mean_iou, pixel_accuracy

SIZE = (180, 240)
FULL = (360, 480)
Pictures = tuple[Tensor, Tensor]


def main() -> None:
    """Train both stages, and report."""
    options = parser().parse_args()
    torch.manual_seed(options.seed)
    source = opened("camvid-source", options.data_dir)
    backbone = initial(options, source)
    training = labelled_images(source, "day")
    validation = labelled_images(opened("camvid-source:val", options.data_dir), "day")
    run = Run(backbone, training, validation, source.ignore_label, options)
    run.stage("decoder", options.decoder_epochs, decoder_epochs)
    run.stage("whole", options.epochs, whole_epochs)
    run.finish()
    report(run, options)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--data-dir", type=Path, required=True)
    made.add_argument("--backbone", default="lraspp:tf_efficientnet_lite0")
    made.add_argument("--encoder-weights", type=Path, help="of the encoder, with its classifier")
    made.add_argument("--decoder-epochs", type=int, default=60)
    made.add_argument("--epochs", type=int, default=8, help="of the whole network")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--output", type=Path, required=True)
    return made


def opened(name: str, data_dir: Path) -> Dataset:
    """Return a data set that shows its images in the size trained on."""
    dataset = open_dataset(name, data_dir)
    dataset.image_size = SIZE
    return dataset


def initial(options: argparse.Namespace, source: Dataset) -> DenseBackbone:
    """Return the network with the encoder's weights, frozen and in evaluation mode."""
    name, classes = options.backbone, source.num_classes
    backbone = create_backbone(name, num_classes=classes, pretrained=False)
    if options.encoder_weights is not None:
        encoder = name.partition(":")[2]
        whole = create_backbone(encoder, weights=options.encoder_weights, pretrained=False)
        encoder_weights(backbone.model, whole.model)
    return backbone.to(memory_format=torch.channels_last)


class Run:
    """Training, whose best weights are saved.

    Attributes:
        best: mIoU in percent on the validation frames, of the weights that are saved.
    """

    def __init__(
        self,
        backbone: DenseBackbone,
        training: Pictures,
        validation: Pictures,
        ignored: int,
        options: argparse.Namespace,
    ) -> None:
        self.backbone, self.validation, self.ignored = backbone, validation, ignored
        self.images, self.labels = training
        self.weights = median_frequency_weights(self.labels, backbone.num_classes)
        self.output: Path = options.output
        self.generator = torch.Generator().manual_seed(options.seed)
        self.best = -1.0
        self.began = time.perf_counter()

    def stage(self, name: str, epochs: int, train: Callable[[Run, int], Iterator[float]]) -> None:
        """Run the epochs of a stage, and keep the weights of the best one."""
        for epoch, loss in enumerate(train(self, epochs)):
            self.backbone.eval()
            found = self.miou(self.validation)
            if found > self.best:
                self.best = found
                self.output.parent.mkdir(parents=True, exist_ok=True)
                save_file(plain(self.backbone.model), self.output)
            minutes = (time.perf_counter() - self.began) / 60
            line = f"{name} epoch {epoch + 1}/{epochs}: loss {loss:.4f}, val mIoU {found:.2f}"
            print(f"{line}, best {self.best:.2f}, {minutes:.1f} min", flush=True)

    def miou(self, pictures: Pictures) -> float:
        """Return the mIoU in percent."""
        return 100 * float(mean_iou(pixel_counts(self.backbone, *pictures, self.ignored)))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted loss of a batch."""
        return pixel_loss(logits, labels, self.ignored, self.weights)

    def finish(self) -> None:
        """Take the best weights, and say beside them how images are normalised and sized."""
        self.backbone.model.load_state_dict(load_file(self.output))
        mean, std = self.backbone.normalisation
        facts = {
            "architecture": self.backbone.name,
            "num_classes": self.backbone.num_classes,
            "pretrained_cfg": {"mean": mean, "std": std, "input_size": [3, *SIZE]},
        }
        self.output.with_name("config.json").write_text(json.dumps(facts), encoding="utf-8")


def plain(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict in the usual layout of memory."""
    return {key: value.contiguous() for key, value in model.state_dict().items()}


def decoder_epochs(run: Run, epochs: int) -> Iterator[float]:
    """Train decoder and classifier on maps of the frozen encoder, of images and their mirrors."""
    model = run.backbone.model
    maps, labels = encoded(run)
    trained = [*model.decoder.parameters(), *model.classifier.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, 3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        model.decoder.train()
        losses = []
        for rows in batches_of(len(labels), 16, run.generator):
            features = model.decoder([part[rows].float() for part in maps])
            losses.append(step(optimizer, run.loss(model.classifier(features), labels[rows])))
        schedule.step()
        yield sum(losses) / len(losses)


@torch.no_grad()
def encoded(run: Run) -> tuple[list[Tensor], Tensor]:
    """Return the encoder's maps of all images and of their mirrors, float16, and their labels."""
    parts = []
    for flip in (False, True):
        for images in run.images.split(8):
            shown = to_unit_range(images.flip(-1) if flip else images)
            found = run.backbone.model.encoder((shown - run.backbone.mean) / run.backbone.std)
            parts.append([one.half() for one in found])
    maps = [torch.cat(level) for level in zip(*parts, strict=True)]
    return maps, torch.cat([run.labels, run.labels.flip(-1)])


def whole_epochs(run: Run, epochs: int, batch: int = 8) -> Iterator[float]:
    """Train everything on varied pictures; the encoder's batch norm follows in the second half."""
    model = run.backbone.model
    run.backbone.requires_grad_(True)
    groups = [
        {"params": model.encoder.parameters(), "lr": 2e-3},
        {"params": [*model.decoder.parameters(), *model.classifier.parameters()], "lr": 1e-2},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)
    steps = epochs * -(-len(run.images) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: (1 - min(done, steps - 1) / steps) ** 0.9
    )
    for epoch in range(epochs):
        run.backbone.train()
        if epoch < epochs // 2:
            for _, layer in batch_norm_layers(model.encoder):
                layer.eval()
        losses = []
        for rows in batches_of(len(run.images), batch, run.generator):
            shown = to_unit_range(run.images[rows])
            shown, labels = varied(shown, run.labels[rows], run.generator, run.ignored)
            losses.append(step(optimizer, run.loss(run.backbone(shown), labels)))
            schedule.step()
        yield sum(losses) / len(losses)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """Take a step, and return the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def report(run: Run, options: argparse.Namespace) -> None:
    """Print mIoU and IoU per class of validation and test frames."""
    for name, domain in (("camvid-source:val", "day"), ("camvid", "day"), ("camvid", "dusk")):
        dataset = opened(name, options.data_dir)
        images, labels = labelled_images(dataset, domain)
        dataset.scored_size = FULL
        _, full = labelled_images(dataset, domain)
        counts = pixel_counts(run.backbone, images, labels, run.ignored)
        print(
            f"{name} {domain}: mIoU {100 * mean_iou(counts):.2f} %, pixel accuracy "
            f"{100 * pixel_accuracy(counts):.2f} %; with label maps of 480x360 mIoU "
            f"{run.miou((images, full)):.2f} %"
        )
        named = zip(dataset.class_names or (), class_iou(counts), strict=False)
        print("  " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in named))


if __name__ == "__main__":
    main()
