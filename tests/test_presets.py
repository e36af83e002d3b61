import pytest

from tta.commands.parameters import parameter_lines
from tta.config import RunConfig
from tta.datasets import DATASETS
from tta.experiment.resolving import resolve_params
from tta.methods import METHODS, find_method
from tta.methods.params import build_params
from tta.presets import columns_of, load_preset, preset_names, published_params

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
    (line,) = [
        line for line in parameter_lines("spa", 100) if line.startswith("  imagenet-c, vit_*")
    ]
    assert " lr=0.01 " in line
    assert list(columns_of("foa")) == ["imagenet-c", "imagenet-r"]


@pytest.mark.parametrize(
    ("backbone", "values"),
    [
        ("resnet50.tv_in1k", (0.00025, 0.3, True)),
        ("resnet50_gn", (0.00025, 0.2, False)),
        ("resnet50_gn.a1h_in1k", (0.00025, 0.2, False)),
        ("vit_base_patch16_224", (0.001, 0.2, False)),
    ],
)
def test_deyo_has_the_values_of_its_script_for_each_of_its_networks(backbone, values):
    params, origin = resolve("deyo", "imagenet-c", backbone)
    assert (params.lr, params.plpd_margin, params.nesterov) == values
    assert "batch" in origin  # and says for which size of batches


@pytest.mark.parametrize(
    ("preset", "backbone", "values"),
    [
        ("auto", "resnet50", ("eta", 0.15, 0.5, 20.0)),
        ("auto", "vit_base_patch16_224", ("eta", 0.99, 0.005, 50.0)),
        ("asr-roid", "resnet50", ("roid", 0.15, 0.5, 20.0)),
        ("asr-roid", "vit_base_patch16_224", ("roid", 0.9, 0.0005, 0.1)),
    ],
)
def test_asr_has_the_constants_of_its_scripts_and_resets_as_published(preset, backbone, values):
    params, _ = resolve("asr", "imagenet-c", backbone, preset=preset)
    found = (params.inner, params.threshold_rate, params.initial_share, params.kept_slope)
    assert found == values
    assert params.compat
    assert (params.penalty, params.kept_share, params.inner_params.lr) == (5.0, 0.5, 0.00025)


@pytest.mark.parametrize("dataset", ["cifar10-c", "cifar100-c", "imagenet-c", "domainnet126"])
def test_what_cites_the_toolbox_trains_what_it_does(dataset):
    for method in ("rmt", "cotta", "gtta"):
        assert load_preset(dataset)[method]["params"]["trained"] == "weights_and_biases"
    own_groups = dataset == "domainnet126"  # there the toolbox's AdaContrast trains all of it
    trained = load_preset(dataset)["adacontrast"]["params"].get("trained", "all")
    assert trained == ("all" if own_groups else "weights_and_biases")


@pytest.mark.parametrize("method", ["sar", "deyo"])
@pytest.mark.parametrize("dataset", ["cifar10-c", "cifar100-c", "imagenet-c", "domainnet126"])
def test_where_scripts_scale_the_learning_rate_the_preset_says_so(method, dataset):
    assert "batch" in published_params(dataset, method, "resnet50")[1]
    assert "scaled" in published_params(dataset, method, "resnet50")[1] or dataset == "imagenet-c"


def test_defaults_for_label_maps_are_listed_apart_where_there_are_any():
    lines = parameter_lines("cotta", 200)
    (line,) = [line for line in lines if line.startswith("  segmentation")]
    assert "lr=7.5e-06 confidence_threshold=0.69 batch_statistics=false" in line
    assert not any("label maps" in line for line in parameter_lines("bn_alpha", 100))


def test_cotta_restarts_its_optimiser_after_a_domain_of_acdc_alone():
    intervals = {name: resolve("cotta", name)[0].restart_interval for name in ("acdc", "camvid")}
    assert intervals == {"acdc": 400, "camvid": None}
    assert resolve("cotta", "cityscapes")[0].restart_interval is None
    params = resolve("cotta", "digits-seg")[0]
    assert (params.confidence_threshold, params.batch_statistics) == (0.585, False)
