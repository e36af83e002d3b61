"""Data and orders that several tables share, as options of runs."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path("results")
ASSETS = "$TTA_TEST_ASSETS"
SAMPLE = RESULTS / "runs" / "imagenet-sample"
RECORDED = {
    "dataset": f"arrays:{ASSETS}/reference/cifar10c-visible.npz",
    "source": f"arrays:{ASSETS}/data/cifar10/train4k.npz",
    "scenario": "recorded",
    "backbone": "cifar_resnet20",
    "weights": f"{ASSETS}/weights/resnet20-12fca82f.th",
    "cloud_backbone": "cifar_resnet56",
    "cloud_weights": f"{ASSETS}/weights/akamaster_resnet56_cifar10.safetensors",
    "preset": "cifar10-c",
    "batch_size": 200,
}
CIFAR_UNKNOWN = {"unknown": "cifar100-c@gen"}
CIFAR100_GENERATED = {
    "dataset": "cifar100-c@gen",
    "data_dir": f"{ASSETS}/data",
    "scenario": "continual",
    "backbone": "cifar_resnet20_distiller",
    "weights": f"{ASSETS}/weights/distiller_resnet20_cifar100.safetensors",
    "num_samples": 1000,
}
CIFAR10_GENERATED = {
    "dataset": "cifar10-c@gen",
    "data_dir": f"{ASSETS}/data",
    "backbone": "cifar_resnet20",
    "weights": f"{ASSETS}/weights/resnet20-12fca82f.th",
    "cloud_backbone": "cifar_resnet56",
    "cloud_weights": f"{ASSETS}/weights/akamaster_resnet56_cifar10.safetensors",
}
IMAGENET_SAMPLE = {
    "dataset": f"folder@gen:{SAMPLE}",
    "data_dir": f"{ASSETS}/data",
    "preset": "imagenet-c",
    "scenario": "continual",
    "backbone": "mobilenetv1_075",
    "weights": f"{ASSETS}/weights/mobilenetv1_075_224_imagenet_timm.safetensors",
    "crop": 1,  # all of a centre crop
    "batch_size": 64,
    "num_samples": 300,
}

CLIP = {
    "backbone": "digits_clip",
    "domains": ("gaussian_noise", "defocus_blur", "frost", "fog", "contrast", "jpeg_compression"),
    "num_samples": 80,
    "batch_size": 20,
}
CONTINUAL = {"scenario": "continual"}
CORRELATED = {"scenario": "correlated", "dirichlet": 0.1}
SINGLE = {"scenario": "continual", "batch_size": 1, "num_samples": 100}
FEW = {"num_samples": 200}
CIFAR10_CONTINUAL = {**CIFAR10_GENERATED, **CONTINUAL, "num_samples": 1000}
CIFAR10_CORRELATED = {**CIFAR10_GENERATED, **CORRELATED, "num_samples": 1000}
CIFAR10_SINGLE = {**CIFAR10_GENERATED, **SINGLE}
CIFAR10_FEW = {**CIFAR10_GENERATED, **CONTINUAL, **FEW}
