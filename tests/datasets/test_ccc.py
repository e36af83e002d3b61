import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.assets import asset
from tests.datasets.layouts import cifar_binary, resize_facts
from tests.fakes import make_backbone
from tta.backbones import create_backbone
from tta.config import RunConfig
from tta.corruptions import CORRUPTIONS, corrupt
from tta.datasets import open_dataset
from tta.datasets.ccc_crops import RandomCrop
from tta.datasets.ccc_path import DIFFICULTIES, GRID, Difficulty, Itinerary, find_path
from tta.datasets.imagenet import ImageNetValidation
from tta.experiment import build, run
from tta.foundation.errors import UserError
from tta.source.calibration import PairAccuracy, calibrate, interpolate
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream

DIGITS = 12


def surface(strength=1.0):
    """Accuracies that fall from 80 % as either corruption strengthens."""
    severity = np.linspace(0, 5, GRID)
    return 80 * np.exp(-strength * (severity[:, None] + severity) / 3)


def test_a_path_leads_from_one_corruption_to_the_other_in_single_steps():
    path = find_path(surface(), 20)
    assert path[0][1] == 0 and path[-1][0] == 0
    for (i, j), (k, m) in itertools.pairwise(path):
        assert (k, m) in ((i - 1, j), (i, j + 1))
    assert np.mean([surface()[point] for point in path]) == pytest.approx(20, abs=1)


def test_the_search_is_the_published_greedy_one():
    # By hand on a 3x3 grid with target 10: from (1, 1) the better rest is (0, 1), from (2, 0) the
    # point (2, 1), whose mean comes nearer than that of (1, 0).
    accuracy = np.array([[50.0, 8.0, 30.0], [16.0, 10.0, 40.0], [14.0, 9.0, 2.0]])
    assert find_path(accuracy, 10) == [(2, 0), (2, 1), (1, 1), (0, 1)]


@pytest.mark.parametrize("target", [0, 20, 40])
def test_harder_targets_give_harder_paths(target):
    means = [
        np.mean([surface(strength)[point] for point in find_path(surface(strength), target)])
        for strength in (0.8, 2.0)
    ]
    assert means == pytest.approx([max(target, 15.1), max(target, 2.9)], abs=6)


def test_pairs_are_chained_and_a_pure_function_of_the_seed():
    asked = []

    def measure(first, second):
        asked.append((first, second))
        return surface()

    made = [Itinerary(DIFFICULTIES["hard"], seed, measure) for seed in (1, 1, 2)]
    late = [itinerary[3000] for itinerary in made]
    steps = [[itinerary[number] for number in range(3001)] for itinerary in made]
    assert late == [each[3000] for each in steps]
    assert steps[0] == steps[1] != steps[2]
    assert len(set(asked)) == 12  # all ordered pairs of the four
    names = [name for step in steps[0] for name, _ in step.corruptions]
    assert set(names) == {"gaussian_noise", "shot_noise", "impulse_noise", "contrast"}
    for before, after in itertools.pairwise(steps[0]):
        change = dict(before.corruptions).items() ^ dict(after.corruptions).items()
        if len({name for name, _ in (*before.corruptions, *after.corruptions)}) == 2:
            levels = [sum(dict(step.corruptions).values()) for step in (before, after)]
            assert len(change) <= 4 and abs(levels[0] - levels[1]) <= 5


def test_the_difficulties_are_the_published_ones():
    accuracies = {name: difficulty.accuracy for name, difficulty in DIFFICULTIES.items()}
    assert accuracies == {"easy": 40, "medium": 20, "hard": 0}
    left_out = {name: set(CORRUPTIONS) - set(DIFFICULTIES[name].corruptions) for name in accuracies}
    assert left_out["easy"] == {"brightness"}
    assert left_out["medium"] == {"brightness", "jpeg_compression"}


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / "cache"))
    # Quick ones: with ten images a step, tables of shot noise would be made all the time.
    quick = Difficulty(20, ("contrast", "gaussian_noise", "brightness"))
    monkeypatch.setitem(DIFFICULTIES, "medium", quick)
    cifar_binary(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": 10_000}, label_bytes=1)
    return tmp_path


def laid_out(root, options="", length=400):
    data = open_dataset(f"ccc-cifar10:speed=10,{options}", root)
    data.length = length
    data.calibrate(lambda first, second: surface(), "model")
    return data


def test_an_image_depends_on_its_position_and_seed_alone(cifar):
    data = laid_out(cifar)
    whole = data.images("ccc", 0, np.arange(60))
    for positions in ([59], [3, 41, 12], [10, 9]):
        assert torch.equal(data.images("ccc", 0, np.array(positions)), whole[positions])
    again = laid_out(cifar, length=4000)
    assert torch.equal(again.images("ccc", 0, np.arange(30, 60)), whole[30:])
    assert again.labels("ccc", 0)[:400].tolist() == data.labels("ccc", 0).tolist()
    assert not torch.equal(laid_out(cifar, "seed=44").images("ccc", 0, np.arange(60)), whole)


def test_images_are_corrupted_twice_by_the_severities_of_their_step(cifar):
    data = laid_out(cifar)
    number = next(n for n in range(40) if len(data.step(n).corruptions) == 2)
    positions = np.arange(10 * number, 10 * number + 10)
    expected = data.cropped(data._rows(positions), positions)
    for name, severity in data.step(number).corruptions:
        expected = corrupt(expected, name, severity, positions, seed=43)
    assert torch.equal(data.images("ccc", 0, positions), expected)


def test_every_step_draws_its_own_images(cifar):
    data = laid_out(cifar, "seed=1", length=100)
    rows = data._rows(np.arange(100)).reshape(10, 10)
    assert all(len(set(step)) == 10 for step in rows)
    assert len(set(rows.flatten())) > 90
    long = open_dataset("ccc-cifar10:speed=25000", cifar)
    rows = long._rows(np.arange(25_000))
    assert np.bincount(rows, minlength=10_000).tolist().count(2) >= 5000
    assert np.bincount(rows).max() == 3


def test_the_order_of_the_stream_is_fixed(cifar):
    data = laid_out(cifar, length=200)
    plan = plan_stream("continual", data, ScenarioOptions(num_samples=150))
    assert plan.index.tolist() == list(range(150))
    assert plan.digest[:DIGITS] == "7e26e8dc7958"
    with pytest.raises(UserError, match="an order of its own; choose --scenario continual or"):
        plan_stream("correlated", data, ScenarioOptions())
    first, second = (list(Stream(data, plan, 40, workers=workers)) for workers in (0, 2))
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))


def test_identity_and_records_name_what_decides_the_images(cifar):
    data = laid_out(cifar, "difficulty=hard,seed=45")
    assert data.name == "ccc-cifar10:difficulty=hard,speed=10,seed=45,frost=procedural"
    assert data.provenance["calibrated_by"] == "model"
    other = laid_out(cifar, "difficulty=hard,seed=45")
    assert other.digest() == data.digest()
    other.calibrate(lambda first, second: surface(1.1), "other")
    assert other.digest() != data.digest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("difficulty=harder", "no difficulty 'harder'; did you mean 'hard'"),
        ("sped=3", "no option 'sped'; did you mean 'speed'"),
        ("speed=fast", "speed of ccc must be a whole number of at least 1, not 'fast'"),
        ("calibration=0", "at least 1, not '0'"),
    ],
)
def test_options_are_checked(options, message, cifar):
    with pytest.raises(UserError, match=message):
        open_dataset(f"ccc-cifar10:{options}", cifar)


def test_without_a_source_model_there_is_no_path(cifar):
    with pytest.raises(UserError, match="call calibrate"):
        open_dataset("ccc-cifar10", cifar).images("ccc", 0, np.arange(3))


def test_accuracy_is_measured_once_and_kept(cifar, monkeypatch):
    data = open_dataset("ccc-cifar10:calibration=6", cifar)
    backbone = make_backbone("batch_norm")
    made = PairAccuracy(data, backbone, torch.device("cpu"))("contrast", "fog")
    assert made.shape == (GRID, GRID)
    rows = np.sort(np.random.default_rng(10_000).permutation(10_000)[:6])
    twice = corrupt(corrupt(data.clean(rows), "contrast", 2, rows, 43), "fog", 5, rows, 43)
    with torch.no_grad():
        predicted = backbone(twice.float() / 255).argmax(1).numpy()
    assert made[8, 20] == pytest.approx(100 * (predicted == data.clean_labels[rows]).mean())
    monkeypatch.setattr(PairAccuracy, "_measure", None)
    kept = PairAccuracy(data, backbone, torch.device("cpu"))("contrast", "fog")
    assert np.array_equal(kept, made)
    with pytest.raises(TypeError):
        PairAccuracy(data, make_backbone("group_norm"), torch.device("cpu"))("contrast", "fog")


def test_between_whole_severities_accuracy_is_bilinear():
    whole = np.add.outer(10.0 * np.arange(6), np.arange(6.0))
    grid = np.linspace(0, 5, GRID)
    assert interpolate(whole) == pytest.approx(np.add.outer(10 * grid, grid))


def test_a_run_takes_its_length_from_the_number_of_samples(cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(PairAccuracy, "_measure", lambda *_: np.full((6, 6), 20.0))
    model = create_backbone("test_resnet", num_classes=10, pretrained=False).model
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    options = {
        "dataset": "ccc-cifar10:speed=10",
        "data_dir": str(cifar),
        "backbone": "test_resnet",
        "weights": str(tmp_path / "w.safetensors"),
        "num_classes": 10,
    }
    config = RunConfig(**options, num_samples=30, batch_size=20, output=str(tmp_path / "runs"))
    summary = run(config)
    assert summary["samples"] == 30
    assert summary["data"]["frost"] == "procedural"
    assert len(summary["data"]["calibrated_by"]) == 64
    assert build(config).fingerprint() == summary["fingerprint"]


@pytest.mark.slow
def test_real_images_have_the_accuracy_of_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / "cache"))
    weights = asset("weights", "akamaster_resnet20_cifar10.safetensors")
    backbone = create_backbone("cifar_resnet20", weights=weights)
    data = open_dataset("ccc-cifar10:speed=200,calibration=500,difficulty=easy", asset("data"))
    data.length = 4000
    calibrate(data, backbone, torch.device("cpu"))
    correct = []
    for start in range(0, 4000, 200):
        images = data.images("ccc", 0, np.arange(start, start + 200)).float() / 255
        with torch.no_grad():
            correct.append(backbone(images).argmax(1).numpy())
    accuracy = 100 * (np.concatenate(correct) == data.labels("ccc", 0)).mean()
    # The 500 images that every accuracy was measured on leave a standard error of 2.2 points, and
    # crops at random, which calibration is without, cost about 1.5.
    assert accuracy == pytest.approx(data.provenance["calibrated_accuracy"], abs=6)


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    resize_facts(monkeypatch, ImageNetValidation, 6)
    for number in range(6):
        file = tmp_path / "imagenet" / "val" / "n01440764" / f"ILSVRC2012_val_{number:08d}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(noise).resize((300, 240)).save(file)
    return tmp_path


def test_imagenet_sized_images_are_cropped_at_random_and_stored_as_jpeg(imagenet):
    data = open_dataset("ccc:speed=4,difficulty=hard", imagenet)
    data.length = 60
    data.calibrate(lambda first, second: surface(), "model")
    data.check(data.domains, (0,))
    images = data.images("ccc", 0, np.array([1, 57]))
    assert images.shape == (2, 3, 224, 224)
    assert torch.equal(data.images("ccc", 0, np.array([57])), images[1:])
    data.image_size = (96, 96)
    assert data.images("ccc", 0, np.array([57])).shape == (1, 3, 96, 96)
    (imagenet / "imagenet/val/n01440764/ILSVRC2012_val_00000003.JPEG").unlink()
    with pytest.raises(UserError, match="holds 5 images where ImageNet .validation. has 6"):
        open_dataset("ccc", imagenet).check(("ccc",), (0,))


def test_crops_have_torchvision_s_areas_and_ratios():
    generator = np.random.default_rng(0)
    boxes = np.array(
        [RandomCrop(generator.random(RandomCrop.DRAWS))._box(400, 300) for _ in range(500)]
    )
    left, top, right, bottom = boxes.T
    assert left.min() >= 0 and top.min() >= 0 and right.max() <= 400 and bottom.max() <= 300
    area, ratio = (right - left) * (bottom - top) / 120_000, (right - left) / (bottom - top)
    assert 0.075 < area.min() < 0.12 and 0.85 < area.max() <= 1
    assert 0.74 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.35
    assert RandomCrop([0.5] * 41)._centre(1000, 200) == (366, 0, 633, 200)


def test_a_difficulty_is_any_accuracy_on_any_corruptions():
    itinerary = Itinerary(Difficulty(60, ("fog", "snow")), 0, lambda *_: surface())
    assert {name for name, _ in itinerary[50].corruptions} <= {"fog", "snow"}
