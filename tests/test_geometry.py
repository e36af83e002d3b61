"""The options of size: every form of them, and what is refused."""

import pytest

from tta.commands.run import main
from tta.config import RunConfig, read_yaml
from tta.foundation.errors import UserError


@pytest.mark.parametrize("value", [48, "48", "48,48", " 48 , 48", [48], (48, 48)])
def test_a_size_in_all_its_forms(value):
    assert RunConfig(input_size=value).input_size == (48, 48)


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        ("squash", "squash"),
        ("bicubic", "bicubic"),
        ("bicubic, shorter", "shorter,bicubic"),
        (["squash", "box"], "squash,box"),
        ("none", "none"),
    ],
)
def test_words_of_resize_in_any_order(value, canonical):
    assert RunConfig(resize=value).resize == canonical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("input_size: 48", {"input_size": (48, 48)}),
        ("input_size: [32, 48]", {"input_size": (32, 48)}),
        ("input_size: 32,48", {"input_size": (32, 48)}),
        ("resize: [squash, lanczos]", {"resize": "squash,lanczos"}),
        ("resize: none", {"resize": "none"}),
        ("crop: 1", {"crop": 1.0}),
        ("crop: 875e-3", {"crop": 0.875}),
    ],
)
def test_yaml_says_the_same(tmp_path, text, expected):
    (tmp_path / "a.yaml").write_text(text)
    config = RunConfig.from_mapping(read_yaml(tmp_path / "a.yaml"), "a.yaml")
    assert {name: getattr(config, name) for name in expected} == expected
    assert RunConfig.from_mapping(config.to_mapping(), "again") == config


@pytest.mark.parametrize("value", ["0", "-3", "a", "1,2,3", "32x32", "2.5", "99999", "9" * 5000])
def test_what_is_no_size(capsys, value):
    assert main(["--input-size", value]) == 2
    error = capsys.readouterr().err
    assert "--input-size takes H or H,W in whole pixels, but got" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", [True, None, [None], {"a": 1}, 0, -1, 2.5, [1, 2, 3]])
def test_what_is_no_size_in_yaml(value):
    if value is None:
        assert RunConfig.from_mapping({"input_size": None}, "yaml").input_size is None
        return
    with pytest.raises(UserError, match="--input-size takes H or H,W"):
        RunConfig.from_mapping({"input_size": value}, "yaml")


@pytest.mark.parametrize(
    "value", ["", "shrter", "squash,shorter", "box,box", "none,box", "shorter,"]
)
def test_what_is_no_resize(value):
    with pytest.raises(UserError, match="--resize"):
        RunConfig(resize=value)


@pytest.mark.parametrize("value", ["0", "1.01", "-1", "nan", "inf", "all", True, [1]])
def test_what_is_no_crop(value):
    with pytest.raises(UserError, match="--crop takes the fraction of each side"):
        RunConfig(crop=value)


def test_a_crop_of_what_is_not_resized():
    with pytest.raises(UserError, match="--resize none resizes nothing"):
        RunConfig(resize="none", crop=0.9)
