"""open_clip's models behind features() and head(), on drawn weights: nothing is downloaded."""

import json

import pytest
import torch
from safetensors.torch import save_file

import tta
from tta.backbones import clip_names
from tta.backbones.clip.classifier import zero_shot_backbone
from tta.backbones.clip.making import image_text, load_image_text
from tta.backbones.clip.text_tower import TextTower
from tta.backbones.stages import early_norm_parameters
from tta.commands.run import main
from tta.foundation.errors import UserError
from tta.foundation.templates import read_templates
from tta.methods.soft_prompt import SoftPrompt
from tta.ops.generators import seeded_layers
from tta.ops.parameters import norm_affine_parameters

open_clip = pytest.importorskip(
    "open_clip", reason="the extra clip (open_clip_torch) is not installed"
)
TEXT = {"width": 32, "heads": 2, "layers": 2}
VISION = {
    "vit": {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8},
    "quick": {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 16},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16},
}
NAMES = ["golden_retriever", "tench", "tench", "traffic light", "Bäcker's shop"]
TEMPLATES = ("a photo of a {}.", "itap of my {}, in the snow.", "{}")


def configuration(kind):
    return {
        "embed_dim": 24,
        "quick_gelu": kind == "quick",
        "vision_cfg": VISION[kind],
        "text_cfg": TEXT,
    }


@pytest.fixture(scope="module", params=sorted(VISION))
def model(request):
    with seeded_layers(0):
        made = open_clip.CLIP(**configuration(request.param)).eval()
        for parameter in made.parameters():  # biases and gains too
            torch.nn.init.normal_(parameter, std=0.05) if parameter.ndim == 1 else None
        torch.nn.init.constant_(made.logit_scale, 4.0)
    return made


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-32")


def backbone_of(model, tokenizer, names=NAMES, templates=TEMPLATES):
    parts = image_text(model, tokenizer, "mine")
    return zero_shot_backbone(parts, names, templates, cached=False)


def spoken(names):
    return [name.replace("_", " ") for name in names]


def images(count=3):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_zero_shot_is_that_of_open_clip(model, tokenizer):
    backbone = backbone_of(model, tokenizer)
    with torch.no_grad():
        theirs = open_clip.build_zero_shot_classifier(model, tokenizer, spoken(NAMES), TEMPLATES)
        seen = model.encode_image((images() - backbone.mean) / backbone.std, normalize=True)
        expected = model.logit_scale.exp() * seen @ theirs
        torch.testing.assert_close(backbone(images()), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(backbone.features(images()), seen, rtol=0, atol=1e-6)
    torch.testing.assert_close(backbone.text.embeddings.T, theirs, rtol=0, atol=1e-6)
    assert backbone.feature_dim == 24
    assert torch.equal(backbone.text.embeddings[1], backbone.text.embeddings[2])  # of equal names


def test_tokens_are_those_of_open_clip(model, tokenizer):
    text = backbone_of(model, tokenizer).text
    for template in TEMPLATES:
        prompts = [template.format(name) for name in spoken(NAMES)]
        assert text.prompts(template) == prompts
        tokens, whole = text.tokens(prompts), tokenizer(prompts)
        assert torch.equal(tokens, whole[:, : tokens.shape[1]])
        assert tokens.argmax(1).equal(whole.argmax(1))
        assert int(tokens.argmax(1).max()) == tokens.shape[1] - 1  # nothing behind the longest
    long = "a photo of a " + "very " * 200 + "{}."
    assert text.tokens(text.prompts(long)).shape == (len(NAMES), 77)
    tench = [49406, 320, 1125, 539, 320, 1149, 634, 269, 49407]
    assert text.tokens(["a photo of a tench."])[0].tolist() == tench


def test_embedded_tokens_give_what_encode_text_gives(model, tokenizer):
    tower, prompts = TextTower(model), [f"a photo of a {name}." for name in NAMES]
    whole = tokenizer(prompts)
    with torch.no_grad():
        expected = model.encode_text(whole, normalize=True)
        torch.testing.assert_close(tower.encode(whole), expected, rtol=0, atol=1e-6)
        cut = tower.cut(whole)
        found = tower.encode_embedded(tower.embed(cut), cut)
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-6)
    embedded = tower.embed(cut).detach().requires_grad_()
    tower.encode_embedded(embedded, cut)[:, 0].sum().backward()
    ends = cut.argmax(1)
    assert all(bool(embedded.grad[row, : int(end)].any()) for row, end in enumerate(ends))
    assert not any(bool(embedded.grad[row, int(end) + 1 :].any()) for row, end in enumerate(ends))


def test_the_text_tower_is_no_part_of_what_is_adapted_or_copied(model, tokenizer):
    backbone = backbone_of(model, tokenizer)
    parts = {id(value) for value in backbone.parameters()}
    assert not parts & {id(value) for value in backbone.text.tower.parameters()}
    assert len(norm_affine_parameters(backbone)) == len(norm_affine_parameters(model.visual))
    copy = backbone.clone()
    assert copy.text is backbone.text
    own = backbone.text.copy_to("cpu")
    assert own.tower is not backbone.text.tower and own.embeddings is not backbone.text.embeddings
    assert len(own.norm_parameters()) == 2 * (2 * 2 + 1)  # of two blocks, and the last


def test_sar_leaves_out_the_last_quarter_of_the_blocks(tokenizer):
    kept = {"vit": ("resblocks.", "012", "ln_pre"), "resnet": ("layer", "123", "bn1")}
    for kind, (stage, numbers, stem) in kept.items():
        with seeded_layers(0):
            model = open_clip.CLIP(**configuration(kind))
        backbone = backbone_of(model, tokenizer)
        early = {id(value) for value in early_norm_parameters(backbone, 0.25)}
        names = [name for name, value in backbone.named_parameters() if id(value) in early]
        found = {name.split(stage)[1][0] for name in names if stage in name}
        assert found == set(numbers)
        assert any(f".{stem}." in name for name in names)
        assert not any("ln_post" in name for name in names)


def test_templates_of_open_clip():
    found = read_templates(["openai80"], ())
    assert len(found) == 80 and found[0] == "a bad photo of a {}."
    assert len(read_templates(["simple7"], ())) == 7
    theirs = [template("tench") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert [one.replace("{}", "tench") for one in found] == theirs


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Register a small architecture, as if open_clip had it; return a checkpoint of it."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tiny-clip.json").write_text(json.dumps(configuration("vit")))
    open_clip.add_model_config(tmp_path / "tiny")
    known = clip_names.architectures() | {"tiny-clip"}
    monkeypatch.setattr(clip_names, "architectures", lambda: known)
    with seeded_layers(1):
        model = open_clip.CLIP(**configuration("vit"))
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_run_from_a_file_without_network(tiny, tmp_path, capsys):
    options = ["--backbone", "clip:tiny-clip", "--weights", str(tiny), "--domains", "fog"]
    options += ["--num-samples", "6", "--method", "tpt", "--set", "views=3"]
    options += ["--output", str(tmp_path / "runs"), "--templates", "a photo of the digit {}."]
    assert main(options) == 0
    said = capsys.readouterr()
    assert "prompts: 10 classes under 'a photo of the digit {}.', digest" in said.out
    assert "activation GELU" in said.out + said.err
    (run,) = tta.load_runs(tmp_path / "runs").path
    with open(f"{run}/summary.json") as file:
        summary = json.load(file)
    assert summary["prompts"]["templates"] == ["a photo of the digit {}."]
    assert summary["prompts"]["names"][:2] == ["zero", "one"]


def test_a_file_gives_the_weights_that_it_holds(tiny):
    parts = load_image_text("clip:tiny-clip", tiny)
    with seeded_layers(1):
        expected = open_clip.CLIP(**configuration("vit"))
    for name, value in expected.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], value), name


def test_the_activation_is_that_of_the_tag():
    """open_clip makes GELU of ViT-B-16/openai, whose weights are of QuickGELU, and warns only."""
    from tta.backbones.clip.making import _tag_config

    assert _tag_config(open_clip, "clip:x", "ViT-B-16", "openai")["quick_gelu"]
    assert not _tag_config(open_clip, "clip:x", "ViT-B-16", "laion2b_s34b_b88k").get("quick_gelu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clip:ViT-B-17/openai", "no architecture 'ViT-B-17'; did you mean 'ViT-B-16'"),
        ("clip:ViT-B-16", "names no weights: write clip:ViT-B-16/TAG"),
        ("clip:ViT-B-16/", "names no weights"),
        ("clip:ViT-B-16/opanai", "no tag 'opanai'; did you mean 'openai'"),
    ],
)
def test_names_that_open_clip_does_not_have(name, words):
    with pytest.raises(UserError, match=words.replace("?", "\\?")):
        load_image_text(name)


def test_no_network_ends_with_the_way_around(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(UserError, match="no route to host.*check the network.*--weights FILE"):
        load_image_text("clip:ViT-B-16/openai")


def test_a_prompt_that_joins_the_name_to_a_word_is_not_trained(model, tokenizer):
    made = backbone_of(model, tokenizer, ["tail", "bull"], ("a photo of a pit{}.", "a {}."))
    with pytest.raises(UserError, match="put a blank before"):
        SoftPrompt(made, None)
    assert len(SoftPrompt(made, "a photo of a pit {}.").initial) == 5


def test_a_model_of_a_program(model, tokenizer):
    made = tta.zero_shot(model, NAMES, TEMPLATES[0], tokenizer=tokenizer)
    adapted = tta.adapt(made, "tda")
    assert adapted(images()).shape == (3, len(NAMES))
    with pytest.raises(UserError, match="pass tokenizer"):
        tta.zero_shot(model, NAMES)
