"""Runs on class folders of one's own: figures as of equal images as arrays, or a refusal."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tta.backbones import create_backbone
from tta.commands.run import main
from tta.config import RunConfig
from tta.datasets.digits import CLOUD_WEIGHTS, load_digits_rgb, split_rows
from tta.experiment import build, run
from tta.experiment.class_numbers import number_classes, number_cloud_classes
from tta.foundation.errors import UserError
from tta.tasks.classes.lists import imagenet_names

NET = "cifar_resnet32"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WNIDS = imagenet_names(1000).names[90:990:90]
BUT_THREE = [0, 1, 2, 4, 5, 6, 7, 8, 9]
IMAGES = 60


@pytest.fixture(scope="module")
def digits():
    """Noisy scans of the test split ``[N, 32, 32, 3]`` and their digits, in order of the files."""
    images, labels = load_digits_rgb()
    rows = split_rows(source=False)[:IMAGES]
    pixels = images[torch.from_numpy(rows)].permute(0, 2, 3, 1).numpy()
    noise = np.random.default_rng(0).normal(0, 25, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), labels[rows]


@pytest.fixture(scope="module")
def logits(digits):
    """What the net of the digits says of each scan ``[N, 10]``."""
    net = create_backbone(NET, weights=CLOUD_WEIGHTS, num_classes=10)
    with torch.no_grad():
        return net(torch.from_numpy(digits[0]).permute(0, 3, 1, 2) / 255).numpy()


@pytest.fixture
def own(tmp_path, digits, logits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return OwnData(tmp_path, *digits, logits)


class OwnData:
    """Scans as folders and as arrays, and models whose outputs are digits in any order."""

    def __init__(self, folder, images, labels, logits):
        self.folder, self.images, self.labels, self.logits = folder, images, labels, logits

    def error(self, digits=range(10), masked=False):
        """Return the error on the scans of some digits, with logits limited to these or not."""
        rows = np.isin(self.labels, digits)
        columns = np.array(digits) if masked else np.arange(10)
        predicted = columns[self.logits[rows][:, columns].argmax(1)]
        return (predicted != self.labels[rows]).mean()

    def folders(self, names, place="data/scans", keep=lambda digit: True):
        for number, (image, digit) in enumerate(zip(self.images, self.labels, strict=True)):
            if keep(digit):
                file = self.folder / place / names[digit] / f"{number:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)
        return f"folder:{place.split('/')[0]}"

    def arrays(self, keep=lambda digit: True, **more):
        rows = [row for row, digit in enumerate(self.labels) if keep(digit)]
        order = sorted(rows, key=lambda row: self.labels[row])
        images = {"images": self.images[order], "labels": self.labels[order]}
        np.savez(self.folder / "mine.npz", **{**images, **more})
        return "arrays:mine.npz"

    def model(self, places, outputs):
        """Return options of a net whose output ``places[d]`` is digit d, and no other one is."""
        state = load_file(CLOUD_WEIGHTS)
        for key, rest in (("linear.weight", 0.0), ("linear.bias", -30.0)):
            values = torch.full((outputs, *state[key].shape[1:]), rest)
            values[list(places)] = state[key]
            state[key] = values
        file = self.folder / f"{outputs}-{places[0]}.safetensors"
        save_file(state, file)
        return {
            "backbone": NET,
            "weights": str(file),
            "num_classes": outputs,
        }

    def names(self, names):
        (self.folder / "names.txt").write_text("\n".join(names), encoding="utf-8")
        return "names.txt"


def test_folders_and_arrays_of_equal_images_agree(own):
    model = own.model(range(10), 10)
    folder = run(RunConfig(dataset=own.folders(list("0123456789")), **model))
    arrays = run(RunConfig(dataset=own.arrays(), **model))
    assert folder["understood"]["classes"] == (
        "10 class folders numbered in sorted order of their names: '0' is output 0, '9' output 9"
    )
    assert arrays["understood"]["classes"] == "labels 0 to 9 are outputs 0 to 9 of 10"
    assert folder["warnings"] == arrays["warnings"] == []
    assert folder["mean_error"] == pytest.approx(own.error())
    assert folder["mean_error"] < 0.2
    for name in ("mean_error", "mean_nll", "mean_ece"):
        assert folder[name] == arrays[name]


def error(dataset, model, **options):
    """Return the error of the source model on a stream, and what the run says of classes."""
    experiment = build(RunConfig(dataset=dataset, **model, **options))
    with torch.no_grad():
        outputs = torch.cat([experiment.backbone(batch.images) for batch in experiment.stream])
    wrong = outputs.argmax(1).numpy() != experiment.stream.labels()
    return wrong.mean(), experiment.understood["classes"]


def test_an_empty_class_folder_is_a_class(own):
    dataset = own.folders(list("0123456789"), keep=lambda digit: digit != 3)
    (own.folder / "data/scans/3").mkdir()
    model = own.model(range(10), 10)
    found, said = error(dataset, model)
    assert found == own.error(BUT_THREE) < 0.2
    assert said.endswith("'9' output 9; without images: '3'")
    (own.folder / "data/scans/10").mkdir()
    with pytest.raises(UserError, match="without images: '10', '3'.*which; pass the model's class"):
        build(RunConfig(dataset=dataset, **model))
    own.folders(list("0123456789"))
    with pytest.raises(UserError, match="without images: '10'.*take out the folders without"):
        build(RunConfig(dataset=dataset, **model))


def test_some_of_the_classes_are_refused_or_matched_by_name(own):
    dataset = own.folders(list("0123456789"), keep=lambda digit: digit != 3)
    model = own.model(range(10), 10)
    with pytest.raises(UserError, match="has 9 class folders .*, the model 10 outputs.*--classes"):
        build(RunConfig(dataset=dataset, **model))
    experiment = build(RunConfig(dataset=dataset, classes="@numbers", **model))
    assert experiment.backbone.class_ids == BUT_THREE
    found, said = error(dataset, model, classes="@numbers")
    assert found == own.error(BUT_THREE, masked=True) <= own.error(BUT_THREE)
    assert said == (
        "9 class folders matched to 9 of 10 outputs by name (--classes @numbers); logits limited "
        "to these"
    )


def test_numbers_in_another_order_than_as_text(own):
    dataset = own.folders([str(digit + 2) for digit in range(10)])  # as text, 10 and 11 come first
    model = own.model(range(10), 10)
    with pytest.raises(UserError, match="pass --class-order sorted .* or natural"):
        build(RunConfig(dataset=dataset, **model))
    assert error(dataset, model, class_order="natural")[0] == own.error()
    as_text = own.model([2, 3, 4, 5, 6, 7, 8, 9, 0, 1], 10)
    assert error(dataset, as_text, class_order="sorted")[0] == own.error()
    wrong = run(RunConfig(dataset=dataset, class_order="sorted", **model))
    assert wrong["mean_error"] > 0.8
    (warning,) = wrong["warnings"]
    assert "seem to be in another order than those of the data; pass --classes FILE" in warning


def test_a_file_of_names_in_the_order_of_the_outputs(own):
    order = [3, 1, 4, 5, 9, 2, 6, 8, 7, 0]  # digit of each output
    names = own.names([WORDS[digit].upper() for digit in order])
    model = own.model([order.index(digit) for digit in range(10)], 10)
    found, said = error(own.folders(WORDS), model, classes=names)
    assert found == own.error()
    assert said == (
        "10 class folders matched to all 10 outputs by name but for case, spaces and underscores "
        "(names.txt)"
    )
    labels = own.arrays(classes=np.array(WORDS))
    assert error(labels, model, classes=names)[0] == own.error()


@pytest.mark.parametrize("inner", [True, False])
def test_names_that_the_configuration_beside_the_weights_gives_the_outputs(own, inner):
    model = own.model(range(10), 10)
    facts = {"label_names": WORDS}
    card = {"architecture": NET, **({"pretrained_cfg": facts} if inner else facts)}
    (own.folder / "config.json").write_text(json.dumps(card))
    found, said = error(own.folders(WORDS), model)
    assert found == own.error() < 0.2
    assert said == (
        "10 class folders matched to all 10 outputs by name (the label names in the model's "
        "configuration)"
    )
    as_sorted = error("folder:data", model, class_order="sorted")
    assert as_sorted[0] > 0.8  # the user's word goes over the file's
    with pytest.raises(UserError, match="1 of 9 class folders are not matched .*: 'ten'"):
        build(
            RunConfig(dataset=own.folders([*WORDS[:9], "ten"], "other/x", keep=_but_zero), **model)
        )


def _but_zero(digit):
    return digit > 0


def test_a_file_that_names_an_output_which_is_no_class(own):
    model = own.model(range(1, 11), 11)
    names = own.names(["background", *WORDS])
    assert error(own.folders(WORDS), model, classes=names)[0] == own.error()


@pytest.mark.parametrize(
    ("outputs", "origin"),
    [
        (1000, "timm's list imagenet-1k"),
        (1001, "timm's list imagenet-1k, after output 0 as a background class"),
        (21_843, "timm's list imagenet-21k-goog"),
    ],
)
def test_wnid_folders_under_a_model_of_imagenet(own, outputs, origin):
    names = imagenet_names(outputs).names
    model = own.model([names.index(wnid) for wnid in WNIDS], outputs)
    found, said = error(own.folders(WNIDS), model)
    assert found == own.error()
    assert said == (
        f"10 class folders matched to 10 of {outputs:,} outputs by wnid ({origin}); logits "
        "limited to these"
    )


def test_wnids_beside_labels_that_are_numbers(own):
    names = imagenet_names(1001).names
    model = own.model([names.index(wnid) for wnid in WNIDS], 1001)
    with pytest.raises(UserError, match="begin with a background class; save the wnids"):
        build(RunConfig(dataset=own.arrays(), **model))
    assert error(own.arrays(classes=np.array(WNIDS)), model)[0] == own.error()


def test_unnamed_folders_under_a_model_of_imagenet_are_refused(own):
    with pytest.raises(UserError, match="has 10 class folders .*, the model 1,000 outputs"):
        build(RunConfig(dataset=own.folders(WORDS), **own.model(range(10), 1000)))


def test_labels_that_reach_few_of_the_outputs_are_said_and_warned_of(own, capsys):
    model = own.model(range(500, 510), 1000)
    assert main(options(dataset=own.arrays(), **model)) == 0
    printed = capsys.readouterr()
    assert "classes: labels 0 to 9 are outputs 0 to 9 of 1,000; the other outputs have no" in (
        printed.err
    )
    assert "warning: the source model is right on 0.0% of the images, and would be on" in (
        printed.err
    )


def options(**values):
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in values.items())
    return [text for pair in pairs for text in pair]


def test_corruptions_of_a_folder_are_numbered_alike(own):
    own.folders([str(digit + 2) for digit in range(10)])
    config = {"dataset": "folder@gen:data/scans", "domains": ("fog",), **own.model(range(10), 10)}
    with pytest.raises(UserError, match="--class-order"):
        build(RunConfig(**config))
    experiment = build(RunConfig(class_order="natural", **config))
    assert experiment.dataset.classes == tuple(map(str, range(2, 12)))
    assert sorted(experiment.stream.labels()) == sorted(own.labels)


def labels_of_source(experiment):
    return sorted(label for _, part in experiment.source.one_pass() for label in part.tolist())


def test_source_folders_get_the_numbers_of_the_test_data(own):
    model = own.model(range(10), 10)
    config = {"method": "rmt", "dataset": own.folders(WORDS), "class_order": "sorted", **model}
    sorted_words = sorted(WORDS)
    fewer = own.folders(WORDS, "some/scans", keep=lambda digit: digit in (3, 9))
    experiment = build(RunConfig(source=fewer, **config))
    counts = np.bincount(own.labels)
    places = [sorted_words.index("nine"), sorted_words.index("three")]
    assert labels_of_source(experiment) == sorted([places[0]] * counts[9] + [places[1]] * counts[3])
    assert "source images: 2 class folders matched to 2 of 10" in experiment.understood["classes"]
    other = own.folders([*WORDS[:9], "ten"], "other/scans")
    with pytest.raises(UserError, match="by the class folders of the test data: 'ten'"):
        build(RunConfig(source=other, **config))


def test_source_folders_beside_data_of_the_package(own):
    config = {"method": "rmt", "dataset": "digits-c", "domains": ("fog",), "num_samples": 8}
    source = own.folders(WORDS)
    model = own.model(range(10), 10)
    experiment = build(RunConfig(source=source, class_order="natural", **config, **model))
    assert experiment.understood["classes"].startswith("source images: 10 class folders numbered")
    names = own.names(WORDS)
    experiment = build(RunConfig(source=source, classes=names, **config, **model))
    assert labels_of_source(experiment) == sorted(own.labels)


def test_source_images_of_other_classes_are_left_out(own):
    names = imagenet_names(1000).names
    model = own.model([names.index(wnid) for wnid in WNIDS], 1000)
    some = own.folders(WNIDS, keep=lambda digit: digit > 6)
    whole = own.folders(WNIDS, "whole/scans")
    experiment = build(RunConfig(method="rmt", dataset=some, source=whole, **model))
    assert experiment.backbone.num_classes == 3
    counts = np.bincount(own.labels)
    assert np.bincount(labels_of_source(experiment)).tolist() == counts[7:].tolist()
    by = "by wnid (timm's list imagenet-1k); logits limited to these"
    assert experiment.understood["classes"] == (
        f"3 class folders matched to 3 of 1,000 outputs {by}; source images: 10 class folders "
        f"matched to 10 of 1,000 outputs {by}; 3 of 10 classes are classes of the test data, and "
        "images of the others are left out"
    )


def test_files_and_size_of_source_images_are_said_where_they_differ(own):
    config = {"method": "rmt", "dataset": own.folders(WORDS), "class_order": "sorted"}
    config |= own.model(range(10), 10)
    own.folders(WORDS, "same/scans")
    (own.folder / "same/scans/one/notes.txt").write_text("")
    said = build(RunConfig(source="folder:same", **config)).understood
    assert said["files"] == (
        f"{IMAGES} images; source images: {IMAGES} images; left out: 1 of other suffixes "
        "('scans/one/notes.txt')"
    )
    assert said["images"] == "32x32 on disk, shown as they are"
    file = next((own.folder / "same/scans/one").glob("*.png"))
    Image.open(file).resize((64, 64)).save(file)
    said = build(RunConfig(source="folder:same", **config)).understood
    assert said["images"].startswith(
        "32x32 on disk, shown as they are; source images: 2 sizes from 32x32 to 64x64 on disk, "
        "shown in 32x32: shorter side resized to "
    )


def test_a_larger_list_in_the_cloud_is_matched_too(own):
    names, cloud_names = imagenet_names(1000).names, imagenet_names(21_843).names
    model = own.model([names.index(wnid) for wnid in WNIDS], 1000)
    experiment = build(
        RunConfig(
            method="cema",
            dataset=own.folders(WNIDS),
            **model,
            cloud_backbone=NET,
            cloud_weights=model["weights"],
        )
    )
    assert experiment.cloud.class_ids == experiment.backbone.class_ids
    said = experiment.understood["normalisation"]
    assert "names none: --mean and --std, or a config.json beside it would; cloud: " in said
    assert said.endswith("names none: a config.json beside it would")  # no option is the cloud's
    cloud = create_backbone("test_resnet", num_classes=21_843, pretrained=False)
    classes = number_classes(experiment.config, experiment.dataset, experiment.backbone)
    number_cloud_classes(cloud, experiment.dataset, experiment.backbone, classes)
    assert [cloud_names[output] for output in cloud.class_ids] == sorted(WNIDS)


def test_the_order_is_part_of_what_makes_a_run(own):
    dataset, model = own.folders([str(digit + 2) for digit in range(10)]), own.model(range(10), 10)
    natural, by_text = (
        build(RunConfig(dataset=dataset, class_order=order, **model)).fingerprint()
        for order in ("natural", "sorted")
    )
    names = own.names([str(digit + 2) for digit in range(10)])
    by_file = build(RunConfig(dataset=dataset, classes=names, **model)).fingerprint()
    assert natural == by_file != by_text


def test_options_that_do_not_go_together(own):
    model = own.model(range(10), 10)
    with pytest.raises(UserError, match="leave --class-order out"):
        RunConfig(classes="@numbers", class_order="sorted")
    with pytest.raises(UserError, match="--class-order is for class folders"):
        build(RunConfig(dataset=own.arrays(), class_order="sorted", **model))
    with pytest.raises(UserError, match="has 10 classes, but backbone .* has 1,000 outputs"):
        build(RunConfig(dataset="digits-c", **own.model(range(10), 1000)))


def test_names_in_arrays_must_be_one_for_each_class(own):
    for names, message in (
        (np.array(WORDS[:9]), "must give each of the 10 classes a name of its own"),
        (np.array([*WORDS[:9], "zero"]), "holds 10, 9 distinct"),
        (np.arange(10), "must be text"),
    ):
        with pytest.raises(UserError, match=message):
            build(RunConfig(dataset=own.arrays(classes=names), **own.model(range(10), 10)))


def test_json_keeps_what_was_understood(own, capsys):
    dataset = own.folders(list("0123456789"))
    assert main([*options(dataset=dataset, **own.model(range(10), 10)), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["understood"]["classes"].startswith("10 class folders numbered in sorted order")
    assert summary["warnings"] == []
