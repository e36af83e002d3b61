"""The files of results/ that hold tables, with what stands in each."""

from __future__ import annotations

from .data import (
    CIFAR10_CONTINUAL,
    CIFAR10_CORRELATED,
    CIFAR10_FEW,
    CIFAR10_SINGLE,
    CIFAR100_GENERATED,
    CLIP,
    CONTINUAL,
    CORRELATED,
    FEW,
    IMAGENET_SAMPLE,
    RECORDED,
    SINGLE,
)
from .protocols import PROTOCOLS, protocol_tables
from .rows import (
    ABOUT_NOTE,
    ABOUT_VIDA,
    ALL,
    COSTLY,
    FEW_ROWS,
    IN_COPIES,
    MIRRORED,
    NEWEST,
    NOT_VIDA,
    ON_CIFAR,
    ON_CIFAR_NOTE,
    ON_CLIP,
    ON_DIGITS,
    ON_TRANSFORMER,
    RETURNING,
    SEED_SYSTEMS,
    memory_note,
)
from .table import Table

HEADINGS = {
    "newest": "The newest methods",
    "protocols": "Protocols",
    "seed_systems": "Seed systems",
    "cifar100_generated": "CIFAR-100-C, generated",
    "digits_all": "All methods on digits-c",
    "digits_vit": "A vision transformer on digits-c",
    "digits_clip": "An image-text model on digits-c",
    "cifar10_generated": "All methods on CIFAR-10-C, generated",
    "imagenet_sample": "1,000 ImageNet images, corruptions generated",
}
TABLES = {
    "newest": [
        Table(
            "digits-c, continual",
            NEWEST,
            CONTINUAL,
            IN_COPIES,
            (1, 2, 3),
            "Beside statistics of the batch, PALM alone gains much; NEO, made for transformers, "
            "does not make up for them. Seeds draw UnMix-TNS's components, and domains of 897 "
            "images are short for it.",
        ),
        Table(
            "digits-c, correlated",
            NEWEST,
            CORRELATED,
            IN_COPIES,
            note="Labels come in order: TRIBE's balanced statistics halve the source's error, "
            "statistics of the batch are worse than none.",
        ),
        Table(
            "CIFAR-10-C, recorded stream, 200 images of each domain",
            NEWEST,
            {**RECORDED, "num_samples": 200},
            IN_COPIES,
            note="Fifteen updates with values for other networks: for parity, not for ranks.",
        ),
        Table(
            "digits-c, three domains that return twenty times",
            RETURNING,
            PROTOCOLS["recurring, 20 visits"],
            IN_COPIES,
            note="With visits of 60 images, two batches, a copy for each style learns less than "
            "one model does for all.",
            compact=True,
        ),
        Table("Few images", ("source", "bn", "tent", "tea"), {**CONTINUAL, "num_samples": 64}),
        Table(
            "Continual, vision transformer",
            ("source", "tent", "sar", "foa", "neo", "dpcore", "imse", "vida"),
            {"backbone": "digits_vit", **CONTINUAL, "num_samples": 200},
            NOT_VIDA,
            note=ABOUT_VIDA,
        ),
    ],
    "protocols": protocol_tables(),
    "seed_systems": [
        Table("digits-c, continual", SEED_SYSTEMS, {"scenario": "continual"}),
        Table("digits-c, gradual", SEED_SYSTEMS, {"scenario": "gradual", "num_samples": 100}),
        Table("digits-c, correlated", SEED_SYSTEMS, {"scenario": "correlated", "dirichlet": 0.1}),
        Table(
            "CIFAR-10-C, recorded stream",
            SEED_SYSTEMS,
            RECORDED,
            {"rmt": {"set": {"warm_up_samples": 4000}}},  # one pass over the source images there
        ),
    ],
    "cifar100_generated": [
        Table(
            "CIFAR-100-C generated from clean images, continual",
            ("source", "bn", "bn_alpha", "tent", "rmt"),
            CIFAR100_GENERATED,
            {"rmt": {"set": {"warm_up_samples": 2000}}},  # likewise
        ),
    ],
    "digits_all": [
        Table("Continual", ALL, {"scenario": "continual"}, ON_DIGITS, (1, 2, 3), ABOUT_NOTE),
        Table("Correlated", ALL, CORRELATED, ON_DIGITS, note=ABOUT_NOTE),
        Table("Batch size 1", ALL + COSTLY, SINGLE, ON_DIGITS, note=f"{ABOUT_NOTE} {MIRRORED}"),
        Table("Costly methods", FEW_ROWS, {**CONTINUAL, **FEW}, note=MIRRORED),
    ],
    "digits_vit": [
        Table(
            "Continual, vision transformer",
            ON_TRANSFORMER,
            {"backbone": "digits_vit", **CONTINUAL},
            NOT_VIDA,
            seeds=(1, 2, 3),
            note=ABOUT_VIDA,
        ),
    ],
    "digits_clip": [
        Table(
            "Continual, zero-shot",
            ON_CLIP,
            {**CONTINUAL, **CLIP},
            seeds=(1, 2, 3),
            note=memory_note(),
        ),
        Table(
            "Correlated, zero-shot",
            ON_CLIP,
            {**CORRELATED, **CLIP},
            seeds=(1, 2, 3),
            note=memory_note(),
        ),
    ],
    "cifar10_generated": [
        Table("Continual", ALL, CIFAR10_CONTINUAL, ON_CIFAR, (1, 2, 3), ON_CIFAR_NOTE),
        Table("Correlated", ALL, CIFAR10_CORRELATED, ON_CIFAR, note=ON_CIFAR_NOTE),
        Table("Batch size 1", ALL + COSTLY, CIFAR10_SINGLE, ON_CIFAR, note=ON_CIFAR_NOTE),
        Table("Costly methods", FEW_ROWS, CIFAR10_FEW, ON_CIFAR),
    ],
    "imagenet_sample": [
        Table(
            "ImageNet images, corruptions generated",
            ("source", "bn", "bn_alpha", "tent", "eta", "sar", "lame", "roid", "cmf", "deyo"),
            IMAGENET_SAMPLE,
            note="MobileNetV1 0.75; 300 of 1,000 images, one a class, in every corruption. Clean "
            "images are 256 x 256 centre crops, resized to 224. "
            "Methods that need source images are left out: there are no others.",
        ),
    ],
}
