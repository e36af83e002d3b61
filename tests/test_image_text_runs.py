"""Runs with digits_clip: prompts in the record, classes of any number, views that methods share."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tta
from tests.fakes import make_images
from tests.test_conformance import PARAMS, needs
from tta.backbones.clip.classifier import zero_shot_backbone
from tta.backbones.clip.digits_clip import TEMPLATES, WEIGHTS, WORDS, tokenize
from tta.backbones.clip.making import drawn_digits_clip
from tta.backbones.clip.text_side import TextSide
from tta.commands.run import main
from tta.config import RunConfig
from tta.datasets.digits import NAMES, load_digits_rgb, split_rows
from tta.experiment import build
from tta.foundation.errors import UserError
from tta.foundation.templates import read_templates
from tta.methods import METHODS, Need
from tta.methods.viewed import ImageByImage

IMAGE_TEXT = [name for name in METHODS if needs(name, Need.IMAGE_TEXT)]
BATCHED = [name for name in IMAGE_TEXT if not issubclass(METHODS[name], ImageByImage)]
DEFAULT = "a scan of the digit {}"
SHORT = {"backbone": "digits_clip", "domains": ["fog"], "num_samples": 8, "batch_size": 4}


def config(**options):
    return RunConfig.from_mapping({**SHORT, **options}, "test")


def adapted(names, method="tda", **params):
    return tta.adapt(tta.zero_shot("digits_clip", names, DEFAULT), method, **params)


def test_the_model_that_is_shipped_reads_digits():
    assert WEIGHTS.stat().st_size < 4e6
    images, labels = load_digits_rgb()
    rows = torch.from_numpy(split_rows(source=False))
    model = tta.zero_shot("digits_clip", NAMES, DEFAULT)
    with torch.no_grad():
        features = model.features(images[rows].float() / 255)
        found = model.head(features).argmax(1)
    assert (found == torch.from_numpy(labels)[rows]).float().mean() > 0.97
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(rows)))
    assert model.text.scale == pytest.approx(100.0)
    assert torch.equal(model.class_rows, model.text.scale * model.text.embeddings)


def test_its_tokens():
    ids = tokenize(["A scan of the digit: Three.", "zero or one", "the " * 40])
    start, end = len(WORDS) + 1, len(WORDS) + 2
    assert ids[:, 0].tolist() == [start] * 3 and ids.argmax(1).tolist() == [7, 4, 15]
    assert ids[0, :8].tolist() == [
        start,
        *(WORDS.index(word) + 1 for word in "a scan of the digit three".split()),
        end,
    ]
    with pytest.raises(UserError, match="'digits_clip' does not know the word 'cat'; it knows a"):
        tokenize(["a cat"])


def test_templates_are_ensembled_as_published():
    model = tta.zero_shot("digits_clip", NAMES, TEMPLATES)
    text, units = model.text, torch.nn.functional.normalize
    with torch.no_grad():
        each = [text.encode(tokenize([one.format(name) for name in NAMES])) for one in TEMPLATES]
    expected = units(torch.stack([units(part, dim=1) for part in each]).mean(0), dim=1)
    torch.testing.assert_close(text.embeddings, expected, rtol=0, atol=3e-6)


def test_a_run_says_what_its_model_was_told(tmp_path, capsys):
    file = tmp_path / "mine.txt"
    file.write_text("the digit {}\n\na scan of a handwritten {}\n")
    options = ["--backbone", "digits_clip", "--method", "tda", "--domains", "fog"]
    options += ["--num-samples", "8", "--output", str(tmp_path), "--templates"]
    assert main([*options, str(file)]) == 0
    said = capsys.readouterr().out
    assert "prompts: 10 classes under 2 templates such as 'the digit {}', digest " in said
    run = Path(tta.load_runs(tmp_path).path[0])
    summary = json.loads((run / "summary.json").read_text())
    templates = ["the digit {}", "a scan of a handwritten {}"]
    assert summary["prompts"]["templates"] == templates
    assert summary["prompts"]["names"] == list(NAMES)
    assert summary["prompts"]["digest"][:16] in said
    # Its configuration runs again as it is, wherever the file has gone to.
    file.unlink()
    assert main(["--config", str(run / "config.yaml")]) == 0
    assert "was finished before" in capsys.readouterr().out


def test_equal_templates_are_an_equal_run_and_others_another():
    usual = build(config())
    assert usual.resolved()["templates"] == [DEFAULT]
    for same in ("dataset", DEFAULT, [DEFAULT]):
        assert build(config(templates=same)).fingerprint() == usual.fingerprint()
    other = build(config(templates="the digit {}"))
    assert other.fingerprint() != usual.fingerprint()
    assert other.backbone.weights_sha256 == usual.backbone.weights_sha256
    assert other.backbone.preprocessing != usual.backbone.preprocessing
    named = build(config(templates=[DEFAULT, "the digit {}"]))
    assert named.prompts["digest"] != other.prompts["digest"]


def test_text_is_encoded_once(monkeypatch):
    expected = build(config()).backbone.text.embeddings
    monkeypatch.setattr(TextSide, "ensemble", lambda *_: pytest.fail("encoded again"))
    assert torch.equal(build(config()).backbone.text.embeddings, expected)


def test_another_tokenizer_is_other_text(monkeypatch):
    def words_of(tokenize):
        parts = replace(drawn_digits_clip(), tokenize=tokenize)
        return zero_shot_backbone(parts, NAMES, [DEFAULT]).text.embeddings

    expected = words_of(tokenize)
    assert not torch.equal(words_of(lambda texts: tokenize(list(reversed(texts)))), expected)
    monkeypatch.setattr(TextSide, "ensemble", lambda *_: pytest.fail("encoded again"))
    assert torch.equal(words_of(tokenize), expected)


REFUSED = {
    "--templates nothing": "--templates nothing is no file; write a template with {} in it",
    "--templates datasets": "or a word: did you mean 'dataset'?",
    "--templates {}{}": "template '{}{}' must have {} once",
    "--templates {name}": "template '{name}' must have {} once",
    "--templates dataset --backbone test_resnet": "--templates are for image-text models",
    "--num-classes 10": "leave --num-classes out",
    "--input-size 64": "takes images of 32x32",
    "--method tda --backbone test_resnet.r160_in1k": "choose one (digits_clip, clip:ViT-B-16",
    "--cloud-backbone digits_clip": "--cloud-backbone digits_clip is an image-text model",
    "--backbone digits_clipp": "unknown backbone 'digits_clipp'; did you mean",
    "--method tpt --templates {}": "has no words before the class's name",
    "--method zero --window 4 --batch-size 1": "takes images one by one",
    "--method tda --set gate=[0.2]": "tda.gate takes two numbers, the lower first",
    "--method tda --set negative_bounds=[0.9,0.1]": "tda.negative_bounds takes two numbers",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(arguments, capsys, tmp_path):
    usual = [] if "--backbone" in arguments else ["--backbone", "digits_clip"]
    assert main([*usual, *arguments.split(), "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert REFUSED[arguments] in said and said.count("\n") == 1


def test_the_extra_is_named_where_it_is_missing(monkeypatch, capsys):
    for module in ("tta.backbones.clip_names", "tta.foundation.templates"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    assert main(["--backbone", "clip:ViT-B-16/openai"]) == 2
    assert "needs the package open_clip_torch: pip install" in capsys.readouterr().err
    with pytest.raises(UserError, match="openai80 needs the package open_clip_torch"):
        read_templates(["openai80"], ())


def test_data_without_names_of_classes_is_refused_with_the_cure(tmp_path, capsys):
    import numpy as np

    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.array([0, 1, 2, 1]))
    options = ["--dataset", f"arrays:{tmp_path}/a.npz", "--backbone", "digits_clip"]
    options += ["--templates", "{}", "--output", str(tmp_path / "runs"), "--batch-size", "4"]
    assert main(options) == 2
    assert "reads names of classes, and 'a" in capsys.readouterr().err
    names = tmp_path / "names.txt"
    names.write_text("one\nhandwritten_two\nthree\n")
    assert main([*options, "--classes", str(names)]) == 0
    (run,) = tta.load_runs(tmp_path / "runs").path
    summary = json.loads(Path(run, "summary.json").read_text())
    assert summary["prompts"]["names"] == ["one", "handwritten two", "three"]


@pytest.mark.parametrize("method", [*IMAGE_TEXT, "source", "t3a", "lame"])
@pytest.mark.parametrize("count", [1, 1000])
def test_a_class_list_of_one_and_of_a_thousand(method, count):
    names = [f"{NAMES[n % 10]} {NAMES[n // 10 % 10]} {NAMES[n // 100]}" for n in range(count)]
    made = adapted(names, method, **{**PARAMS.get(method, {})})
    found = made(make_images(2))
    assert found.shape == (2, count) and bool(found.isfinite().all())


def test_a_state_of_other_classes_is_refused():
    state = adapted(["one", "two"]).state_dict()
    with pytest.raises(UserError, match="this state is of prompts"):
        adapted(["one", "three"]).load_state_dict(state)


def test_t3a_keeps_the_scale_of_the_logits():
    images, method = make_images(8), adapted(NAMES, "t3a").method
    found = method.step(images)
    cosines = method.backbone.features(images) @ method.prototypes.T
    torch.testing.assert_close(found, 100 * cosines, rtol=1e-4, atol=1e-4)


def test_classes_of_one_name_tie_and_blanks_are_one():
    made = adapted(["one_or_two", "one  or two", "three"])
    found = made.predict(make_images(5))
    torch.testing.assert_close(found[:, 0], found[:, 1], rtol=0, atol=1e-5)
    embeddings = made.method.backbone.text.embeddings
    assert torch.equal(embeddings[0], embeddings[1])
    with pytest.raises(UserError, match="none of them empty"):
        tta.zero_shot("digits_clip", ["one", " _ "])


def test_the_method_of_the_documentation_keeps_what_is_promised(tmp_path):
    text = (Path(tta.__file__).parent / "methods" / "README.md").read_text(encoding="utf-8")
    (code,) = [part for part in text.split("```") if "(ViewedMethod):" in part]
    file = tmp_path / "my_file.py"
    file.write_text(code.removeprefix("python\n"))
    tta.check_method(f"{file}:MajorityView", views=4)


def test_a_model_of_a_program_is_an_equal_run(tmp_path):
    options = {"method": "tda", "domains": ["fog"], "num_samples": 8, "output": str(tmp_path)}
    runs = [
        tta.evaluate(model=tta.zero_shot("digits_clip", NAMES, DEFAULT), **options)
        for _ in range(2)
    ]
    assert runs[1].summary["reused"] and runs[0].path == runs[1].path
    assert runs[0].summary["prompts"]["templates"] == [DEFAULT]
    other = tta.evaluate(model=tta.zero_shot("digits_clip", NAMES, "the digit {}"), **options)
    assert other.path != runs[0].path


@pytest.mark.parametrize("method", BATCHED)
def test_batches_of_one_and_of_two_hundred(method):
    images, params = make_images(200), PARAMS.get(method, {})
    for count in (1, 200):
        found = adapted(NAMES, method, **params)(images[:count])
        assert found.shape == (count, len(NAMES)) and bool(found.isfinite().all())


@pytest.mark.parametrize("method", [name for name in IMAGE_TEXT if name not in BATCHED])
def test_a_batch_of_two_hundred_is_two_hundred_of_one(method):
    # Of an episode that knows nothing of the others, or only of those before, some speak for all.
    few = {"views": 1} if method == "tda" else {"views": 2}
    params = {"stream_length": 200} if method == "onzeta" else few
    images, some = make_images(200), 200 if method in ("tda", "onzeta") else 12
    together = adapted(NAMES, method, **params)(images)
    one_by_one = adapted(NAMES, method, **params)
    found = torch.cat([one_by_one(image) for image in images[:some].split(1)])
    torch.testing.assert_close(found, together[:some], rtol=0, atol=2e-3)


@pytest.mark.parametrize("method", IMAGE_TEXT)
def test_a_run_goes_on_bit_for_bit(method):
    options = {"method": method, "set": PARAMS.get(method, {}), "num_samples": 12}
    whole = build(config(**options))
    outputs = [whole.method.step(batch.images) for batch in whole.stream]
    first = build(config(**options))
    batches = first.stream.batches()
    first.method.step(next(batches).images)
    later = build(config(**options))
    later.method.start()
    later.method.load_state_dict(first.method.state_dict())
    found = [later.method.step(batch.images) for batch in later.stream.batches(4)]
    assert all(map(torch.equal, found, outputs[1:]))
