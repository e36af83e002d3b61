"""In which size images are shown: one rule for files and arrays, said and kept in the record."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from tests.datasets.layouts import resize_facts, validation_names, write_images
from tta.commands.run import main
from tta.config import RunConfig
from tta.datasets.digits import WEIGHTS, load_digits_rgb, split_rows
from tta.datasets.imagenet_c import ImageNetCGenerated
from tta.experiment import build
from tta.foundation.errors import UserError

OWN_NET = {
    "backbone": "test_resnet.r160_in1k",
    "weights": str(WEIGHTS),
    "num_classes": 10,
    "batch_size": 100,
}


def two_classes(tmp_path):
    """Return the options that say which outputs the class folders a and b are."""
    (tmp_path / "names").write_text("\n".join("abcdefghij"))
    return {"classes": str(tmp_path / "names")}


@pytest.fixture
def scans(tmp_path):
    """The same 60 scans of digits as files and as arrays, in the same order."""
    images, labels = load_digits_rgb()
    rows = split_rows(source=False)[:60]
    rows = rows[np.argsort(labels[rows], kind="stable")]
    pixels = images[torch.from_numpy(rows)].permute(0, 2, 3, 1).numpy()
    return write_twice(tmp_path, pixels, labels[rows])


def write_twice(folder, pixels, labels):
    """Write images as files and as arrays; return both specifications."""
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        file = folder / "mine" / "all" / f"class{label}" / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    names = {"domains": np.zeros(len(labels), int), "names": np.array(["all"])}
    np.savez(folder / "mine.npz", images=pixels, labels=labels, **names)
    return [f"folder:{folder}/mine", f"arrays:{folder}/mine.npz"]


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def random_weights(folder, name, **options):
    torch.manual_seed(0)
    torch.save(timm.create_model(name, **options).state_dict(), folder / f"{name}.pth")
    return str(folder / f"{name}.pth")


@pytest.mark.parametrize(
    ("options", "errors", "words"),
    [
        (
            {},
            (0, 0.02),
            "32x32 on disk, shown as they are; test_resnet.r160_in1k is configured for 160x160: "
            "if it was trained on that, pass --input-size 160",
        ),
        ({"input_size": 32}, (0, 0.02), "32x32 on disk, shown as they are"),
        ({"resize": "none"}, (0, 0.02), "32x32 on disk, shown as they are"),
        (
            {"input_size": 160},
            (0.8, 1),
            "32x32 on disk, shown in 160x160: shorter side resized to 168, bilinear, centre cut "
            "out",
        ),
        (
            {"input_size": (40, 36), "resize": "squash,bicubic", "crop": 1},
            (0, 1),
            "32x32 on disk, shown in 40x36: resized to 40x36 whatever their shape, bicubic "
            "(height x width)",
        ),
        (
            {"input_size": 24, "resize": "none"},
            (0.1, 1),
            "32x32 on disk, shown in 24x24: centre cut out, nothing resized",
        ),
    ],
)
def test_folders_and_arrays_agree_to_the_last_digit(
    scans, tmp_path, monkeypatch, capsys, options, errors, words
):
    monkeypatch.chdir(tmp_path)
    summaries = []
    for dataset in scans:
        flags = {**OWN_NET, **options, "dataset": dataset}
        (tmp_path / "run.yaml").write_text(json.dumps(flags))
        assert main(["--config", "run.yaml", "--json"]) == 0
        printed = capsys.readouterr()
        assert f"images: {words}\n" in printed.err
        summaries.append(json.loads(printed.out))
    files, arrays = summaries
    assert files["understood"]["images"] == arrays["understood"]["images"] == words
    assert errors[0] <= files["mean_error"] <= errors[1]
    for name in ("mean_error", "pooled_error", "domains"):
        assert files[name] == arrays[name]
    shown = [build(RunConfig(**{**OWN_NET, **options, "dataset": dataset})) for dataset in scans]
    batches = [next(iter(experiment.stream)).images for experiment in shown]
    assert torch.equal(*batches)


@pytest.mark.parametrize("size", [(30, 47), (200, 120), (160, 160), (1, 1), (8, 8)])
def test_other_sizes_become_the_configured_one_by_timm_s_transform(tmp_path, size):
    pixels = noise((4, *size, 3))
    weights = random_weights(tmp_path, "test_vit", num_classes=2)
    model = timm.create_model("test_vit.r160_in1k", num_classes=2)
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    for dataset in write_twice(tmp_path, pixels, [0, 0, 1, 1]):
        config = RunConfig(
            dataset=dataset, backbone="test_vit.r160_in1k", weights=weights, num_classes=2
        )
        experiment = build(config)
        images = next(iter(experiment.stream)).images
        if size == (160, 160):
            expected = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        else:
            cut = theirs.transforms[:-2]  # without to-tensor and normalisation
            made = [Image.fromarray(image) for image in pixels]
            for step in cut:
                made = [step(image) for image in made]
            expected = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2) / 255
        assert torch.equal(images[experiment.plan.index.argsort()], expected)


def test_images_of_several_sizes_are_said_to_be_so(tmp_path):
    for number, size in enumerate([(20, 16), (20, 16), (60, 50)]):
        file = tmp_path / "mine" / "all" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(file)
    config = {**OWN_NET, "dataset": f"folder:{tmp_path}/mine", **two_classes(tmp_path)}
    experiment = build(RunConfig(**config))
    assert experiment.understood["images"] == (
        "2 sizes from 16x20 to 50x60 on disk, shown in 160x160: shorter side resized to 168, "
        "bilinear, centre cut out (height x width)"
    )
    with pytest.raises(UserError, match="have 2 sizes from 16x20 to 50x60, and are not to be res"):
        build(RunConfig(**config, resize="none"))
    with pytest.raises(UserError, match="is 16x20, smaller than the 18x18 to be shown"):
        build(RunConfig(**config, resize="none", input_size=18))


@pytest.mark.parametrize(
    ("name", "side"),
    [("test_vit_relpos", 8), ("test_coatnet", 50), ("test_maxvit", 50), ("test_vit", 50)],
)
def test_what_a_network_cannot_take_is_resized_or_refused(tmp_path, name, side):
    weights = random_weights(tmp_path, name, num_classes=4)
    net = {"backbone": name, "weights": weights, "num_classes": 4}
    specification = write_twice(tmp_path, noise((4, 32, 32, 3)), [0, 1, 2, 3])[1]
    config = {**net, "dataset": specification}
    assert next(iter(build(RunConfig(**config)).stream)).images.shape == (4, 3, 160, 160)
    message = f"cannot take images of {side}x{side}, .* configured for 160x160"
    with pytest.raises(UserError, match=message):
        build(RunConfig(**config, input_size=side))


def test_data_sets_of_one_size_are_refused_where_it_does_not_fit(tmp_path):
    weights = random_weights(tmp_path, "test_maxvit", num_classes=10)
    net = {"backbone": "test_maxvit", "weights": weights, "num_classes": 10}
    with pytest.raises(
        UserError,
        match=r"cannot take images of 32x32, which those of 'digits-c' have \(.*\); it is "
        "configured for 160x160: pass --input-size 160",
    ):
        build(RunConfig(**net))
    few = {"domains": ("contrast",), "num_samples": 2}
    images = next(iter(build(RunConfig(**net, **few, input_size=160)).stream)).images
    assert images.shape == (2, 3, 160, 160)


def again(experiment):
    """Build the run once more, from what its record says."""
    return build(RunConfig.from_mapping(experiment.resolved(), "record"))


def check_again(config):
    """Check that a record says the whole geometry, and return the experiment."""
    experiment = build(RunConfig(**config))
    resolved = experiment.resolved()
    assert resolved["input_size"] and resolved["resize"] and resolved["crop"]
    repeated = again(experiment)
    assert repeated.resolved() == resolved
    assert repeated.fingerprint() == experiment.fingerprint()
    first, second = (next(iter(made.stream)).images for made in (experiment, repeated))
    assert torch.equal(first, second)
    assert first.shape[2:] == tuple(resolved["input_size"])
    return experiment


@pytest.mark.parametrize("options", [{}, {"input_size": 48}, {"resize": "squash"}, {"crop": 0.5}])
def test_a_record_of_ones_own_images_gives_them_again(scans, options):
    for dataset in scans:
        check_again({**OWN_NET, **options, "dataset": dataset})


def test_a_transform_that_changes_nothing_is_none(scans):
    """One run, however it was asked for."""
    same = [{"input_size": 32}, {"resize": "none"}]
    same += [{"input_size": 32, "resize": how, "crop": 1} for how in ("shorter", "squash,lanczos")]
    for dataset in scans:
        made = [build(RunConfig(dataset=dataset, **OWN_NET, **options)) for options in same]
        assert len({experiment.fingerprint() for experiment in made}) == 1
        said = {experiment.understood["images"] for experiment in made}
        assert said == {"32x32 on disk, shown as they are"}


def test_digits_are_shown_as_they_are_unless_told_otherwise():
    few = {"domains": ("contrast", "fog"), "num_samples": 3, "method": "rmt"}
    plain = check_again(few)
    assert plain.geometry.resolved() == {"input_size": [32, 32], "resize": "none", "crop": 1.0}
    assert "images" not in plain.understood
    larger = check_again({**few, "input_size": 64, "crop": 1})
    assert larger.understood["images"].startswith("32x32 on disk, shown in 64x64: shorter side")
    images, _ = next(larger.source.one_pass())
    assert images.shape[2:] == (64, 64)
    assert plain.fingerprint() != larger.fingerprint()


def test_published_transforms_stay_and_options_change_what_they_name(tmp_path, monkeypatch):
    resize_facts(monkeypatch, ImageNetCGenerated, 4)
    benchmark = ImageNetCGenerated.benchmark.but(backbone="test_resnet")
    monkeypatch.setattr(ImageNetCGenerated, "benchmark", benchmark)
    write_images(tmp_path / "imagenet" / "val", validation_names(4), size=(300, 260))
    (tmp_path / "ImageNet-C").mkdir()
    names = "\n".join(validation_names(4))
    (tmp_path / "ImageNet-C" / "imagenet_test_image_ids.txt").write_text(names)
    config = {
        "dataset": "imagenet-c@gen",
        "data_dir": str(tmp_path),
        "weights": random_weights(tmp_path, "test_resnet"),
        "domains": ("brightness",),
        "severity": 2,
    }
    plain = check_again(config)
    assert plain.geometry.resolved() == {
        "input_size": [160, 160],
        "resize": "shorter,bilinear",
        "crop": 1.0,
    }
    assert plain.understood["images"] == (
        "224x224 on disk, shown in 160x160: shorter side resized to 160, bilinear, centre cut out"
    )
    other = check_again({**config, "crop": 0.5, "input_size": 96})
    assert other.understood["images"].endswith("192, bilinear, centre cut out")


def test_corruptions_of_ones_own_images_need_squares(tmp_path):
    for number in range(2):
        file = tmp_path / "mine" / "ab"[number] / "0.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(noise((40, 48, 3))).save(file)
    config = {**OWN_NET, "dataset": f"folder@gen:{tmp_path}/mine", "domains": ("contrast",)}
    config |= two_classes(tmp_path)
    assert check_again(config).geometry.size == (160, 160)  # 40x48 could not be corrupted
    with pytest.raises(UserError, match="shown in 32x48, and only squares of at least 16x16"):
        build(RunConfig(**config, input_size=(32, 48)))
    with pytest.raises(UserError, match="shown in 8x8, and only squares of at least 16x16"):
        build(RunConfig(**config, input_size=8))


def test_source_images_and_the_cloud_s_model_follow_the_test_images(scans, tmp_path):
    config = {**OWN_NET, "dataset": scans[0], "source": scans[1], "method": "rmt"}
    for options, size in (({}, (32, 32)), ({"input_size": 64}, (64, 64))):
        images, _ = next(build(RunConfig(**config, **options)).source.one_pass())
        assert images.shape[2:] == size
    digits = build(RunConfig(**{**config, "source": "digits"}, input_size=48))
    assert next(digits.source.one_pass())[0].shape[2:] == (48, 48)
    cloud = {
        "method": "cema",
        "cloud_backbone": "test_maxvit",
        "cloud_weights": random_weights(tmp_path, "test_maxvit", num_classes=10),
    }
    with pytest.raises(UserError, match="'test_maxvit.*' cannot take images of 32x32"):
        build(RunConfig(**{**OWN_NET, "dataset": scans[0], **cloud}))


def test_decoded_images_follow_the_way_they_are_resized(scans, tmp_path):
    cache = {"decoded_cache": str(tmp_path / "cache")}
    for options in ({}, {"input_size": 48}, {"input_size": 48, "crop": 1}, {"resize": "squash"}):
        config = {**OWN_NET, **options, "dataset": scans[0]}
        plain = next(iter(build(RunConfig(**config)).stream)).images
        for _ in range(2):
            assert torch.equal(next(iter(build(RunConfig(**config, **cache)).stream)).images, plain)


def test_a_damaged_file_is_named_while_sizes_are_read(scans, tmp_path):
    file = next((tmp_path / "mine").rglob("*.png"))
    file.write_bytes(b"no image")
    with pytest.raises(UserError, match=f"image '.*{file.name}' cannot be decoded"):
        build(RunConfig(**OWN_NET, dataset=scans[0]))
