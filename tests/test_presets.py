import pytest

from tta.config import RunConfig
from tta.datasets import DATASETS
from tta.listing import parameter_table
from tta.methods import METHODS, find_method
from tta.methods.params import build_params
from tta.presets import columns_of, load_preset, preset_names, published_params
from tta.resolving import resolve_params

ENTRIES = [
    (name, method) for name in preset_names() for method in load_preset(name) if method != "extends"
]


@pytest.mark.parametrize(("name", "method"), ENTRIES)
def test_every_entry_names_a_method_its_parameters_and_its_source(name, method):
    entry = load_preset(name)[method]
    assert set(entry) - {"backbones"} == {"source", "params"}
    variants = entry.get("backbones", {}).values()
    for part in (entry, *variants):
        assert part["source"]
        build_params(find_method(method).Params, part["params"], method)


@pytest.mark.parametrize("name", preset_names())
def test_what_a_preset_extends_exists(name):
    base = load_preset(name).get("extends")
    assert base is None or load_preset(base)


def resolve(method, dataset, backbone=None, **options):
    config = RunConfig(method=method, dataset=dataset, backbone=backbone, **options)
    return resolve_params(METHODS[method], config, DATASETS[dataset])


@pytest.mark.parametrize(
    ("backbone", "lr"),
    [
        (None, 0.00025),
        ("resnet50_gn", 0.00025),
        ("vit_base_patch16_224.augreg_in1k", 0.001),
        ("swin_base_patch4_window7_224", 0.001),
    ],
)
@pytest.mark.parametrize("dataset", ["imagenet-c", "imagenet-r", "imagenet-sketch"])
def test_values_for_a_kind_of_backbone_go_over_the_others(dataset, backbone, lr):
    params, origin = resolve("sar", dataset, backbone)
    assert params.lr == lr
    assert not params.nesterov
    assert ("vit_*, swin_*" in origin) == (lr == 0.001)
    assert origin.startswith("imagenet-c")


def test_what_the_user_sets_goes_over_a_backbones_values():
    params, origin = resolve("spa", "imagenet-c", "vit_base_patch16_224", set={"lr": 0.5})
    assert (params.lr, params.predictor_lr, params.masked, params.noise) == (0.5, 0.05, 0.2, 0.4)
    assert origin.endswith(", with lr=0.5")


def test_a_preset_that_extends_another_replaces_whole_entries():
    for dataset, weight, crop in (("imagenet-c", 0.4, False), ("imagenet-r", 0.2, True)):
        assert resolve("foa", dataset)[0].fitness_lambda == weight
        assert resolve("adacontrast", dataset)[0].crop == crop
    assert resolve("foa", "imagenet-a")[0].fitness_lambda == 0.4
    assert resolve("adacontrast", "imagenet-v2")[0].crop
    assert resolve("tent", "imagenet-r")[1].startswith("imagenet-c (")
    assert published_params("imagenet-r", "no_such_method", "") == ({}, "")


def test_every_entry_is_a_column_of_the_listing():
    columns = columns_of("spa")
    assert columns["imagenet-c"]["lr"] == 0.0025
    assert columns["imagenet-c, vit_*"] == load_preset("imagenet-c")["spa"]["params"] | {
        "lr": 0.01,
        "predictor_lr": 0.05,
        "masked": 0.2,
        "noise": 0.4,
    }
    assert "imagenet-c, vit_*" in parameter_table("spa")
    assert list(columns_of("foa")) == ["imagenet-c", "imagenet-r"]
