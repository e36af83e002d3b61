"""Names of networks that segment, ``KIND:NAME``, checked without torch."""

from __future__ import annotations

from importlib.util import find_spec

from tta.foundation.errors import UserError, did_you_mean

KINDS = {
    "lraspp": "a timm encoder and a light decoder of two maps (Howard et al., ICCV 2019)",
    "deeplabv3": "a timm encoder and atrous spatial pyramid pooling (Chen et al., 2017)",
    "torchvision": "a network of torchvision that segments",
    "smp": "a network of segmentation_models_pytorch",
}
"""By what stands before the colon, what it is."""
OWN_DECODERS = ("lraspp", "deeplabv3")
TORCHVISION = (
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet101",
    "deeplabv3_resnet50",
    "fcn_resnet101",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
)
PACKAGE = "segmentation_models_pytorch"


def listed() -> dict[str, str]:
    """Return what networks that segment are called, words in capitals to be filled in, by name."""
    made = {f"{kind}:ENCODER": KINDS[kind] for kind in OWN_DECODERS}
    made["smp:ARCHITECTURE:ENCODER"] = KINDS["smp"]
    return made | {f"torchvision:{name}": KINDS["torchvision"] for name in TORCHVISION}


def is_dense_name(name: str) -> bool:
    """Return whether a backbone's name is of the form ``KIND:NAME``."""
    return ":" in name


def check_dense_name(name: str) -> str | None:
    """Refuse what no kind of network has; return the timm architecture that it is built on.

    Raises:
        UserError: an unknown kind, an unknown network of torchvision, or a package that is absent.
    """
    kind, _, rest = name.partition(":")
    if kind not in KINDS:
        raise UserError(
            f"backbone {name!r}: no kind {kind!r} of networks that segment; "
            f"{did_you_mean(kind, KINDS)}"
        )
    if kind in OWN_DECODERS:
        return rest
    if kind == "torchvision" and rest not in TORCHVISION:
        raise UserError(
            f"torchvision has no network {rest!r} that segments; {did_you_mean(rest, TORCHVISION)}"
        )
    if kind == "smp":
        _check_package(name, rest)
    return None


def _check_package(name: str, rest: str) -> None:
    if not all(rest.partition(":")[::2]):
        raise UserError(f"backbone {name!r}: write smp:ARCHITECTURE:ENCODER, as smp:unet:resnet34")
    if find_spec(PACKAGE) is None:
        raise UserError(
            f"backbone {name!r} needs segmentation_models_pytorch, which is not installed; "
            'install it with `pip install ".[smp]"`'
        )
