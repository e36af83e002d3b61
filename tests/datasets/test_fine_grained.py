"""The ten sets of CoOp's splits, on trees that are written here: names, order, counts, faults."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

import tta
from tests.datasets.layouts import fine_grained, resize_facts, write_images
from tta.commands.get import main as get
from tta.commands.run import main as run
from tta.config import RunConfig
from tta.datasets import DATASETS, open_dataset
from tta.datasets.coop_sets import COOP_SETS
from tta.datasets.digits import NAMES
from tta.datasets.getting.verify import problems
from tta.experiment import build
from tta.experiment.compiling import warm_up
from tta.experiment.showing import show
from tta.foundation.errors import UserError

TEMPLATE = "a scan of the digit {}"
TEST = 5


@pytest.fixture(params=sorted(COOP_SETS))
def name(request, monkeypatch):
    resize_facts(monkeypatch, DATASETS[request.param], TEST)
    return request.param


@pytest.fixture
def eurosat(tmp_path, monkeypatch):
    resize_facts(monkeypatch, DATASETS["eurosat"], TEST)
    return fine_grained(tmp_path, "eurosat", TEST, NAMES)


def test_classes_and_test_images_are_those_of_the_list(name, tmp_path):
    split = fine_grained(tmp_path, name, TEST)
    data = open_dataset(name, tmp_path)
    data.check(data.domains, (0,))
    count = COOP_SETS[name].facts.classes
    assert (data.name, data.num_classes, len(data.prompt_names)) == (name, count, count)
    assert data.prompt_names[1] == "kind_1"  # as listed: prompts have a blank there
    assert data.labels("test", 0).tolist() == [count - 1 - k for k in range(TEST)]
    files = [data.file("test", 0, index) for index in range(TEST)]
    assert [file.stem for file in files] == [f"test_{k}" for k in range(TEST)]
    assert all(split.parent in file.parents for file in files)
    assert not list(problems(name, tmp_path))


def test_each_is_got_by_hand_and_says_where_and_under_which_licence(name, tmp_path, capsys):
    assert get([name, "--data-dir", str(tmp_path)]) == 2
    said, row = capsys.readouterr().err, COOP_SETS[name]
    assert said.startswith(
        f"error: {row.facts.title} (licence: {row.facts.licence}) is got by hand"
    )
    assert str(tmp_path / row.folder / row.images) in said and row.archive in said
    assert row.split in said or name == "fgvc_aircraft"


def test_a_missing_list_and_a_missing_image_are_named(name, tmp_path):
    (problem,) = problems(name, tmp_path)
    assert problem.startswith(f"no list '{tmp_path / COOP_SETS[name].folder}")
    split = fine_grained(tmp_path, name, TEST)
    data = open_dataset(name, tmp_path)
    data.file("test", 0, 3).unlink()
    with pytest.raises(UserError, match=rf"no image file .*test_3\.jpg.*tta\.get {name} ") as error:
        data.check(data.domains, (0,))
    assert list(problems(name, tmp_path)) == [str(error.value)]
    split.unlink()
    assert list(problems(name, tmp_path)) == [
        f"no list '{split}'; get it with `python -m tta.get {name} --data-dir {tmp_path}`"
    ]


def test_another_number_of_images_or_classes_is_said(name, tmp_path):
    fine_grained(tmp_path, name, TEST - 1)
    title, count = COOP_SETS[name].facts.title, COOP_SETS[name].facts.classes
    (problem,) = problems(name, tmp_path)
    assert f"names 4 test images where {title} has 5;" in problem
    fine_grained(tmp_path, name, TEST, [f"c{k}" for k in range(count + 1)])
    (problem,) = problems(name, tmp_path)
    assert f"names {count + 1} classes where {title} has {count};" in problem


def test_published_sizes():
    sizes = {name: row.facts.images for name, row in COOP_SETS.items()}
    assert (sizes.pop("food101"), sizes.pop("sun397")) == (300 * 101, 50 * 397)
    assert list(sizes.values()) == [2465, 1692, 8100, 3333, 2463, 3669, 8041, 3783]
    names = [name for name in DATASETS if DATASETS.location(name).startswith("tta.datasets.fine")]
    assert sorted(COOP_SETS) == names


WRONG = {
    "is no JSON": "{",
    "must hold the lists train, val, test": json.dumps({"test": []}),
    "an entry .'a.jpg', '0', 'x'. where": json.dumps({"test": [["a.jpg", "0", "x"]]}),
    "an entry .'a.jpg', True, 'x'. where": json.dumps({"test": [["a.jpg", True, "x"]]}),
    "an entry .'../a.jpg', 0": json.dumps({"test": [["../a.jpg", 0, "x"]]}),
    "an entry .'/a.jpg', 0": json.dumps({"test": [["/a.jpg", 0, "x"]]}),
    "an entry .'a.jpg', -1": json.dumps({"test": [["a.jpg", -1, "x"]]}),
    "an entry .'a.jpg', 0, ' '": json.dumps({"test": [["a.jpg", 0, " "]]}),
    "calls class 0 both 'x' and 'y'": json.dumps({"test": [["a.jpg", 0, "x"], ["b.jpg", 0, "y"]]}),
    "has 2 classes, but no class 1": json.dumps({"test": [["a.jpg", 0, "x"], ["b.jpg", 2, "y"]]}),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_list_is_refused_in_one_line(message, eurosat, tmp_path):
    content = json.loads(WRONG[message]) if WRONG[message] != "{" else None
    if content and "must hold" not in message:
        content |= {"train": [], "val": []}
    eurosat.write_text("{" if content is None else json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        open_dataset("eurosat", tmp_path).check(("test",), (0,))
    assert "\n" not in str(error.value) and str(eurosat) in str(error.value)
    assert "tta.get eurosat" in str(error.value)


def test_variants_of_aircraft_have_blanks_and_the_numbers_of_their_own_file(tmp_path, monkeypatch):
    resize_facts(monkeypatch, DATASETS["fgvc_aircraft"], 1)
    split = fine_grained(tmp_path, "fgvc_aircraft", 1)
    variants = split.with_name("variants.txt")
    variants.write_text("\r\n".join(["MD-11", "DR-400", "707-320", "C 47", *map(str, range(96))]))
    split.write_text("test_0 C 47\r\n")
    data = open_dataset("fgvc_aircraft", tmp_path)
    assert data.labels("test", 0).tolist() == [3]
    split.write_text("test_0 C-47\n")
    (problem,) = problems("fgvc_aircraft", tmp_path)
    assert "a line 'test_0 C-47' where the number of an image and a variant" in problem
    variants.unlink()
    (problem,) = problems("fgvc_aircraft", tmp_path)
    assert problem.startswith(f"no list '{variants}'; get it with")


def test_a_run_reads_the_names_with_blanks_and_the_set_s_own_template(eurosat, tmp_path, capsys):
    words = [f"{one}_or_{one}" for one in NAMES]
    fine_grained(tmp_path, "eurosat", TEST, words)
    options = ["--dataset", "eurosat", "--data-dir", str(tmp_path), "--backbone", "digits_clip"]
    options += ["--method", "tda", "--batch-size", "3", "--output", str(tmp_path / "runs")]
    assert run(options) == 2
    assert "does not know the word 'centered'" in capsys.readouterr().err
    assert run([*options, "--templates", TEMPLATE]) == 0
    (path,) = tta.load_runs(tmp_path / "runs").path
    with open(f"{path}/summary.json") as file:
        prompts = json.load(file)["prompts"]
    assert prompts["names"][3] == "three or three" and prompts["templates"] == [TEMPLATE]


def test_templates_are_those_of_coop():
    templates = {name: DATASETS[name].benchmark.templates for name in COOP_SETS}
    assert templates["dtd"] == ("{} texture.",)
    assert templates["ucf101"] == ("a photo of a person doing {}.",)
    plain = [name for name, own in templates.items() if own == ("a photo of a {}.",)]
    assert plain == ["caltech101", "stanford_cars", "sun397"]


class Plain:
    input_size = resize = crop = None


def test_published_files_are_shown_as_the_image_text_model_was_trained(eurosat, tmp_path):
    backbone = tta.zero_shot("digits_clip", NAMES, TEMPLATE)
    picture = np.random.default_rng(0).integers(0, 256, (75, 51, 3), np.uint8)
    data = open_dataset("eurosat", tmp_path)
    Image.fromarray(picture).save(file := data.file("test", 0, 1), quality=95)
    show(Plain, data, ("test", 0), backbone, from_file=False)
    published = transforms.Compose(
        [
            transforms.Resize(32, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
        ]
    )
    with Image.open(file) as stored:
        expected = np.asarray(published(stored.convert("RGB")))
    assert np.array_equal(data.images("test", 0, np.array([1]))[0].permute(1, 2, 0), expected)


def built(root, **options):
    usual = {"dataset": "eurosat", "data_dir": str(root), "backbone": "digits_clip"}
    usual |= {"templates": [TEMPLATE], "method": "zero", "batch_size": 2}
    return build(RunConfig.from_mapping({**usual, **options}, "test"))


def outputs_of(root, batch_size, views_from):
    chosen = {"views": 4, "share": 1.0, "views_from": views_from}
    made = built(root, batch_size=batch_size, set=chosen, method="vte")
    return torch.cat([made.method.step(batch.images) for batch in made.stream])


def write_noise(data):
    rng = np.random.default_rng(0)
    for index in range(TEST):
        pixels = rng.integers(0, 256, (90, 45 + 20 * index, 3), np.uint8)
        Image.fromarray(pixels).save(data.file("test", 0, index), quality=95)


def test_views_are_cut_from_decoded_images_whatever_the_batch(eurosat, tmp_path):
    write_noise(open_dataset("eurosat", tmp_path))
    whole = outputs_of(tmp_path, 5, "decoded")
    for batch_size in (1, 2):
        torch.testing.assert_close(outputs_of(tmp_path, batch_size, "decoded"), whole)
    assert not torch.allclose(outputs_of(tmp_path, 5, "input"), whole, atol=1e-2)


def test_a_stream_hands_out_images_before_they_are_resized(eurosat, tmp_path, monkeypatch):
    resize_facts(monkeypatch, DATASETS["dtd"], 3)
    fine_grained(tmp_path, "dtd", 3)
    write_images(eurosat.parent / "2750", [f"test_{k}.jpg" for k in range(TEST)], size=(60, 45))
    experiment = built(tmp_path, unknown="dtd")
    known = experiment.stream.labels() >= 0
    for batch in experiment.stream:
        shapes = [tuple(image.shape) for image in experiment.stream.decoded()]
        rows = known[batch.start : batch.stop]
        assert shapes == [(3, 45, 60) if one else (3, 32, 40) for one in rows]
        assert batch.images.shape[2:] == (32, 32)
    assert 0 < known.sum() < len(known)


def test_code_is_warmed_up_without_a_batch_at_hand(eurosat, tmp_path):
    experiment = built(tmp_path, set={"views": 3, "views_from": "decoded"})
    handed = experiment.method.decoded
    experiment.backbone.compilation = SimpleNamespace(batch_sizes=(2, 1))
    warm_up(experiment)
    assert experiment.method.decoded == handed == experiment.stream.decoded


def test_without_open_clip_a_run_says_so_before_it_looks_for_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tta.backbones.clip_names.find_spec", lambda _: None)
    assert run(["--method", "source", "--dataset", "dtd", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "backbone 'clip:ViT-B-16/openai' needs the package open_clip_torch" in said
