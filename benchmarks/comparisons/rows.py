"""Methods of the tables, and options of some rows."""

from __future__ import annotations

from tta.methods import METHODS, Need
from tta.methods.episodes import BatchEpisode

SEED_SYSTEMS = ("source", "bn", "bn_alpha", "bn_ema", "core", "lame", "tent", "rmt", "cema")


def _is_image_text(name: str) -> bool:
    method = METHODS[name]
    return Need.IMAGE_TEXT in method.needs(method.Params())


IMAGE_TEXT = tuple(filter(_is_image_text, METHODS))
ON_CLIP = ("source", "tent", "sar", "lame", "roid", "t3a", *IMAGE_TEXT)
"""Zero-shot, methods for any network, and all that are for image-text models alone."""
ON_TRANSFORMER = (
    *("source", "t3a", "neo", "lame", "tent", "eata", "sar", "deyo", "roid", "cmf", "foa", "rem"),
    *("dpcore", "imse", "vida"),
)
NOT_VIDA = {"vida": {"set": {"insert_adapters": True}}}
ABOUT_VIDA = (
    "Row `vida`: fresh adapters were put into a network that was not trained with them, as its "
    "authors' is."
)
ALL = (
    *("source", "bn", "bn_alpha", "bn_ema", "t3a", "neo", "lame", "core", "tent", "tent with COME"),
    *("pl", "shot_im", "rpl", "eta", "eata", "eata with COME", "sar", "sar with COME", "rdumb"),
    *("deyo", "roid", "cmf", "asr", "spa", "santa", "rotta", "petta", "note", "rmt"),
    *("adacontrast", "cema", "unmix_tns", "tribe", "palm", "poem", "buffer"),
    *("reservoir", "reservoir with ROID", "crop_selection"),
)
NEWEST = (
    *("source", "bn", "tent", "neo", "unmix_tns", "tribe", "palm", "poem", "buffer"),
    *("reservoir", "reservoir with ROID", "crop_selection"),
)
IN_COPIES = {
    "reservoir with EATA": {"method": "reservoir", "set": {"inner": "eata"}},
    "reservoir with ROID": {"method": "reservoir", "set": {"inner": "roid"}},
}
RETURNING = ("source", "bn", "tent", "eata", "reservoir", "reservoir with EATA")
COSTLY = ("cotta", "memo", "ttaug", "gtta", "tea")
"""Methods with dozens of passes per image, or many steps on source images per batch."""
FEW_ROWS = ("source", "bn", "tent", *COSTLY)
COME = {
    "tent with COME": {"method": "tent", "set": {"loss": "come"}},
    "eata with COME": {"method": "eata", "set": {"loss": "come"}},
    "sar with COME": {"method": "sar", "set": {"loss": "come"}},
}
BASELINES = (*("source", "bn", "tent", "eata", "sar", "cotta", "rotta", "roid", "rmt", "petta"),)
OPEN_SET = ("unient", "ostta", "stamp", "sotta", "owttt")
NOT_NOTE = {"note": {"set": {"convert_batch_norm": True}}}
ON_CIFAR = COME | IN_COPIES | NOT_NOTE | {"rmt": {"set": {"warm_up_samples": 4000}}}
ON_DIGITS = COME | IN_COPIES | NOT_NOTE
ABOUT_NOTE = (
    "Row `note`: batch norm was made instance-aware without training it so, which its paper warns "
    "of. Row `core*`: its loss is a reconstruction, its figures are not the paper's."
)
MIRRORED = (
    "Views of `memo` and `ttaug` are mirrored at random, which makes other digits of some: their "
    "errors say little of the methods."
)
ON_CIFAR_NOTE = f"RMT's warm-up is one pass over the 4,000 source images at hand. {ABOUT_NOTE}"


SMALL_CLIP = (
    "The model is trained on digits alone: rows tell methods' behaviour and cost, and nothing of "
    "their ranks on CLIP. Six domains of 80 images: see the tests for what is chance."
)


def memory_note() -> str:
    """Return which image-text methods forget what, by what they keep."""
    kept = {name: METHODS[name].state for name in IMAGE_TEXT}
    images = [name for name in IMAGE_TEXT if kept[name] == ("views",)]
    batches = [
        name for name in IMAGE_TEXT if not kept[name] or issubclass(METHODS[name], BatchEpisode)
    ]
    online = [name for name in IMAGE_TEXT if name not in {*images, *batches}]
    return (
        f"Row `source` is the zero-shot model. Episodic, every image by itself: "
        f"{', '.join(images)}. Every batch by itself: {', '.join(batches)}, and lame. Online, from "
        f"what came before: {', '.join(online)}, and the others. {SMALL_CLIP}"
    )
