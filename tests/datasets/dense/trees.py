"""Tiny trees of images and label maps in the layouts of their authors."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_pair(image, labels, values=(0, 1), size=(24, 32), label_size=None, shade=100):
    """Write an image of one shade, and a label map whose left half is the first value."""
    for file in (image, labels):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), shade, np.uint8)).save(image)
    height, width = label_size or size
    numbers = np.full((height, width), values[1], np.uint8)
    numbers[:, : width // 2] = values[0]
    Image.fromarray(numbers).save(labels)


def camvid(root, official=True):
    """Write a frame of every drive and split; return the folder of the data."""
    frames = [
        ("train", "0001TP_006690"),
        ("train", "0006R0_f00930"),
        ("train", "0016E5_00390"),
        ("val", "0016E5_07959"),
        ("test", "0001TP_008550"),
        ("test", "Seq05VD_f00000"),
    ]
    if official:
        base = root / "CamVid"
        for split in ("train", "val", "test"):
            names = [name for one, name in frames if one == split]
            for name in names:
                write_pair(base / split / f"{name}.png", base / f"{split}annot" / f"{name}.png")
            lines = [
                f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png"
                for name in names
            ]
            (base / f"{split}.txt").write_text("\n".join(lines) + "\n")
        return root
    base = root / "camvid"
    for _, name in frames:
        write_pair(base / "images" / f"{name}.jpg", base / "labels" / f"{name}.png")
    rows = [f"{name},{name.split('_')[0]},{split}" for split, name in frames]
    (base / "frames.csv").write_text("\n".join(["frame,sequence,official_split", *rows]) + "\n")
    return root


def cityscapes(root, split="val"):
    """Write two images of two cities by labelIds: road and void."""
    for city in ("b_town", "a_town"):
        stem = f"{city}_000000_000019"
        write_pair(
            root / f"cityscapes/leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png",
            root / f"cityscapes/gtFine/{split}/{city}/{stem}_gtFine_labelIds.png",
            values=(7, 3),
            size=(32, 64),
        )
    return root


def acdc(root):
    """Write two images of each condition by trainIds: bicycle and ignored."""
    for number, condition in enumerate(("fog", "night", "rain", "snow")):
        for stem in ("GOPR2_frame_1", "GOPR1_frame_9"):
            drive = stem.partition("_")[0]
            write_pair(
                root / f"acdc/rgb_anon/{condition}/train/{drive}/{stem}_rgb_anon.png",
                root / f"acdc/gt/{condition}/train/{drive}/{stem}_gt_labelTrainIds.png",
                values=(18, 255),
                size=(27, 48),
                shade=50 * number + 10 * (drive == "GOPR2"),
            )
    return root


def gta5(root, broken=1):
    """Write three pairs, of which some are of two sizes."""
    for number in range(3):
        write_pair(
            root / f"gta5/images/{number:05d}.png",
            root / f"gta5/labels/{number:05d}.png",
            values=(26, 0),
            label_size=(24, 30) if number < broken else None,
        )
    return root


def folder_seg(root, classes=("sky", "road"), **options):
    """Write two domains of one's own, a JPEG and a PNG; return the specification."""
    base = root / "mine"
    write_pair(base / "images/sun/one.jpg", base / "labels/sun/one.png", **options)
    write_pair(base / "images/rain/two.png", base / "labels/rain/two.png", **options)
    if classes:
        (base / "classes.txt").write_text("\n".join(classes) + "\n")
    return f"folder-seg:{base}"
