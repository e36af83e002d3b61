"""Task vectors and signatures: the paper's projection, few bits, files."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from tests.fakes import make_backbone, make_images
from tests.weight_files import write_vectors
from tta.foundation.errors import UserError
from tta.source.checkpoint_vectors import check_fits, vectors_to
from tta.source.moments import input_moments
from tta.source.quantised import packed, unpacked
from tta.source.weight_vector_files import read_vectors, save_vectors
from tta.source.weight_vectors import (
    WeightVectors,
    difference,
    first_layers,
    signature,
    without_projection,
)


def test_a_signature_is_what_is_left_beside_clean_training():
    start = {"w": torch.tensor([5.0, 5.0, 5.0])}
    clean = {"w": start["w"] + torch.tensor([1.0, 2.0, 2.0])}
    robust = {"w": start["w"] + torch.tensor([2.0, 3.0, 0.0])}
    found = signature(start, clean, robust, ["w"])["w"]
    assert_close(found, torch.tensor([1.111111, 1.222222, -1.777778]), rtol=0, atol=1e-6)
    assert abs(float(found @ torch.tensor([1.0, 2.0, 2.0]))) < 1e-5
    assert_close(difference(start, robust, ["w"])["w"], torch.tensor([2.0, 3.0, 0.0]))


def test_where_clean_training_moved_nothing_all_is_left():
    vector = torch.tensor([[1.0, 2.0]])
    assert torch.equal(without_projection(vector, torch.zeros(1, 2)), vector)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [1, 3, 8, 17])
def test_few_bits_keep_the_ends_and_miss_by_half_a_step(bits, count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count))
    codes, bounds = packed(values, bits)
    assert codes.dtype == torch.uint8
    assert len(codes) == -(-count * bits // 8)
    found = unpacked(codes, bounds, bits, (count,))
    step = float(values.max() - values.min()) / (2**bits - 1)
    assert (found - values).abs().max() <= step / 2 + 1e-6
    assert_close(found.max(), values.max())
    assert_close(found.min(), values.min())


def test_equal_values_are_kept():
    codes, bounds = packed(torch.full((5,), 0.3), 4)
    assert_close(unpacked(codes, bounds, 4, (5,)), torch.full((5,), 0.3))


def test_first_layers_are_convolutions_with_their_norms():
    model = make_backbone("batch_norm").model
    first = first_layers(model, 1)
    assert first == ["conv1.0.weight"] or first[0].endswith("weight")
    own = dict(model.named_parameters())
    assert sum(own[name].dim() == 4 for name in first_layers(model, 3)) == 3
    assert first_layers(model, None) == list(own)
    assert set(first_layers(model, 10**6)) <= set(own)
    transformer = make_backbone("layer_norm").model
    assert sum("weight" in name for name in first_layers(transformer, 2)) >= 2


@pytest.mark.parametrize("bits", [32, 16, 8, 4, 2])
def test_a_file_holds_what_was_written(tmp_path, bits):
    backbone = make_backbone("batch_norm")
    path = write_vectors(backbone, tmp_path / "v.safetensors", bits)
    exact = read_vectors(write_vectors(backbone, tmp_path / "w.safetensors"))
    found = read_vectors(path)
    assert found.names == ("fog", "snow")
    assert found.source_sha256 == backbone.weights_sha256
    assert found.moments.keys() == {"source", "fog", "snow"}
    for key, value in exact.vectors["fog"].items():
        step = float(value.max() - value.min()) / (2**bits - 1) if bits < 16 else 1e-3
        assert found.vectors["fog"][key].shape == value.shape
        assert (found.vectors["fog"][key] - value).abs().max() <= step / 2 + 1e-6
    check_fits(found, path, backbone)


def test_fewer_bits_are_fewer_bytes(tmp_path):
    vectors = WeightVectors({"fog": {"w": torch.randn(64, 1024)}})
    sizes = {bits: save_vectors(tmp_path / "v", vectors, bits) for bits in (32, 8, 4)}
    assert sizes[32] > 262_144
    assert sizes[8] < 65_536 + 1000
    assert sizes[4] < 32_768 + 1000


def test_other_files_and_other_networks_are_refused(tmp_path):
    backbone, other = make_backbone("batch_norm"), make_backbone("layer_norm")
    path = write_vectors(backbone, tmp_path / "v.safetensors")
    with pytest.raises(UserError, match="does not fit backbone.*none of its tensors"):
        check_fits(read_vectors(path), path, other)
    torch.save(backbone.model.state_dict(), tmp_path / "net.pt")
    with pytest.raises(UserError, match="is no file of weight vectors"):
        read_vectors(tmp_path / "net.pt")
    with pytest.raises(UserError, match="does not exist"):
        read_vectors(tmp_path / "none")
    key = next(iter(dict(backbone.model.named_parameters())))
    for value, words in ((torch.zeros(3), "has shape"), (None, "no numbers")):
        value = (
            torch.full_like(backbone.model.get_parameter(key), torch.nan)
            if value is None
            else value
        )
        with pytest.raises(UserError, match=words):
            check_fits(WeightVectors({"fog": {key: value}}), "file", backbone)


def test_a_damaged_file_is_refused(tmp_path):
    header = {"format": "weight vectors 1", "names": '["a"]', "shapes": '{"w": [2]}', "bits": "32"}
    save_file({"b/w": torch.zeros(2)}, tmp_path / "v", header | {"source_sha256": ""})
    with pytest.raises(UserError, match="is damaged"):
        read_vectors(tmp_path / "v")


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({"shapes": "[2]"}, ()),
        ({"shapes": "{}"}, ()),
        ({"shapes": "7"}, ()),
        ({"shapes": '{"w": 2}'}, ()),
        ({"names": "[]"}, ()),
        ({"names": "[1]"}, ()),
        ({"names": "3"}, ()),
        ({"bits": "16.5"}, ()),
        ({"bits": "3"}, ()),
        ({"bits": "0"}, ()),
        ({"bits": "-8"}, ()),
        ({"bits": "4"}, ("a/w#range",)),
        ({}, ("a/w",)),
    ],
)
def test_every_damage_is_said_in_one_line(tmp_path, changes, dropped):
    header = {"format": "weight vectors 1", "names": '["a"]', "shapes": '{"w": [2]}', "bits": "4"}
    tensors = {"a/w": torch.zeros(1, dtype=torch.uint8), "a/w#range": torch.zeros(2)}
    file = tmp_path / "v"
    save_file(tensors, file, header | {"source_sha256": ""})
    assert read_vectors(file).names == ("a",)
    kept = {key: value for key, value in tensors.items() if key not in dropped}
    save_file(kept, file, header | {"source_sha256": ""} | changes)
    with pytest.raises(UserError, match="is damaged"):
        read_vectors(file)


def test_bounds_that_are_missing_are_damage(tmp_path):
    header = {"format": "weight vectors 1", "names": '["a"]', "shapes": '{"w": [2]}', "bits": "4"}
    tensors = {"a/w": torch.zeros(1, dtype=torch.uint8), "a/w#range": torch.zeros(1)}
    save_file(tensors, tmp_path / "v", header | {"source_sha256": ""})
    with pytest.raises(UserError, match="is damaged"):
        read_vectors(tmp_path / "v")


def write_expert(file, shift):
    """Write the stand-in with all parameters moved, and return the file."""
    expert = make_backbone("batch_norm").model
    with torch.no_grad():
        for parameter in expert.parameters():
            parameter.add_(shift)
    file.parent.mkdir(exist_ok=True)
    torch.save(expert.state_dict(), file)
    return file


def test_task_vectors_are_taken_from_checkpoints(tmp_path):
    backbone = make_backbone("batch_norm")
    file = write_expert(tmp_path / "fog.pt", 0.01)
    found = vectors_to([file], backbone)
    assert found.names == (str(file),)
    for value in found.vectors[str(file)].values():
        assert_close(value, torch.full_like(value, 0.01), rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="does not fit backbone"):
        vectors_to([file], make_backbone("layer_norm"))


def test_checkpoints_of_one_name_in_two_folders_are_two_vectors(tmp_path):
    files = [write_expert(tmp_path / name / "m.pt", by) for name, by in (("x", 0.01), ("y", 0.02))]
    found = vectors_to(files, make_backbone("batch_norm"))
    assert found.names == tuple(map(str, files))
    for file, by in zip(files, (0.01, 0.02), strict=True):
        key, value = next(iter(found.vectors[str(file)].items()))
        assert_close(value, torch.full_like(value, by), rtol=0, atol=1e-6)
    again = tmp_path / "x" / ".." / "x" / "m.pt"
    with pytest.raises(UserError, match="is given twice"):
        vectors_to([*files, again], make_backbone("batch_norm"))


def test_a_checkpoint_is_read_as_a_source_model_is(tmp_path):
    backbone = make_backbone("batch_norm")
    state = {f"module.{key}": value for key, value in backbone.model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pt")
    (vector,) = vectors_to([tmp_path / "wrapped.pt"], backbone).vectors.values()
    assert not any(value.any() for value in vector.values())
    assert vector.keys() == dict(backbone.model.named_parameters()).keys()


def test_a_network_of_another_start_is_no_task_vector(tmp_path):
    backbone, other = make_backbone("batch_norm"), make_backbone("batch_norm").model
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=draws))
    torch.save(other.state_dict(), tmp_path / "other.pt")
    with pytest.raises(UserError, match="was not trained from this source model: .* cosine of"):
        vectors_to([tmp_path / "other.pt"], backbone)


def test_moments_are_those_of_all_images():
    backbone, images = make_backbone("batch_norm"), make_images(9)
    seen = []
    name, layer = next(
        (name, m)
        for name, m in backbone.model.named_modules()
        if isinstance(m, torch.nn.BatchNorm2d)
    )
    layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found = input_moments(backbone, images.split(4))[name]
    values = torch.cat(seen)
    assert_close(found[0], values.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert_close(found[1], values.var((0, 2, 3), unbiased=False), rtol=1e-4, atol=1e-5)
    assert len(layer._forward_pre_hooks) == 1


GOLDEN = {
    32: "188628ba29efe20e",
    16: "5659364619d55353",
    8: "412b97ed8326b28d",
    4: "ecc8a8048698e2b2",
    2: "527cbb12a5191c82",
}


@pytest.mark.parametrize("bits", GOLDEN)
def test_the_bytes_of_a_file_are_those_of_ever(tmp_path, bits):
    value = torch.arange(12.0).view(3, 4).sin()
    moments = {"source": {"bn": torch.ones(2, 4)}, "fog": {"bn": torch.zeros(2, 4)}}
    vectors = WeightVectors({"fog": {"a": value, "b": -value[0]}}, moments, "abc")
    save_vectors(tmp_path / "v", vectors, bits)
    content = (tmp_path / "v").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])  # entries come in any order
    del header["__metadata__"]["tta"]
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode() + content[8 + length :])
    assert digest.hexdigest()[:16] == GOLDEN[bits]
