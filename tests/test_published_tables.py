"""The papers' figures as data, and the tables that put ours beside them."""

from importlib.util import find_spec

import pytest
import yaml

from tta.commands.published import main
from tta.datasets import DATASETS
from tta.datasets.base import NATURAL
from tta.methods import METHODS
from tta.methods.params import build_params
from tta.streams import SCENARIOS
from tta.sweeps.publications import FOLDER, missing, table, table_file, table_names
from tta.sweeps.publications.missing import data_faults, weights_faults
from tta.sweeps.publications.table import published_figures, read_table, table_rows

TABLES = [table_file(name) for name in table_names()]
DIGITS = DATASETS["digits-c"]

# What papers have figures of and this package may not (yet) have.
OTHER_METHODS = {"shot", "dda", "ttac_nq"}
OTHER_DATASETS = {"cityscapes", "imagenet-d109"}
OTHER_SCENARIOS = {
    "iid",
    "label shift",
    "reset_each_shift and severity",
    "reset_each_shift, time-constrained",
    "source GTA5",
    "temporally correlated",
}
PERCENT = {"error", "accuracy", "ece", "mIoU", "upload_percent"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TTA_DATA_DIR", raising=False)
    for cached in (data_faults, weights_faults):
        cached.cache_clear()


def test_published_figures_are_consistent():
    figures = published_figures()
    assert len(figures) > 150
    assert set(figures.method) - OTHER_METHODS <= set(METHODS)
    assert set(figures.dataset) - OTHER_DATASETS <= set(DATASETS)
    assert set(figures.scenario) - OTHER_SCENARIOS <= set(SCENARIOS)
    assert set(figures.metric) == PERCENT | {"uploads"}
    assert figures[figures.metric != "uploads"].value.between(0, 100).all()
    assert figures[figures.metric == "uploads"].value.between(0, 50_000).all()
    assert (figures.citation.str.len() > 5).all()
    places = ["citation", "method", "variant", "dataset", "backbone", "scenario", "metric"]
    assert not figures.duplicated([*places, "severity"]).any()


@pytest.mark.parametrize(
    ("method", "dataset", "metric", "value"),
    [
        # Remembered figures, by their values: RMT with source, SANTA and GTTA, RoTTA on PTTA,
        # CoTTA's gradual table and the accuracies on CCC never enter the file.
        ("rmt", "cifar10-c", "error", 14.5),
        ("rmt", "cifar100-c", "error", 29.0),
        ("cotta", "cifar10-c", "error", 16.2),
        ("cotta", "cifar10-c", "error", 10.4),
        ("tent", "cifar10-c", "error", 20.7),
        ("rotta", "cifar10-c", "error", 25.2),
        ("bn_alpha", "cifar10-c", "error", 14.44),
    ],
)
def test_figures_from_memory_are_left_out(method, dataset, metric, value):
    figures = published_figures()
    same = (figures.method == method) & (figures.dataset == dataset) & (figures.metric == metric)
    assert value not in set(figures[same].value)
    assert not {"santa", "gtta", "petta"} & set(figures.method)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_table_runs_registered_methods_with_parameters_that_they_have(path):
    rows = table_rows(read_table(path), "data", str(path))
    configs = [config for row in rows for config in row.configs]
    assert configs
    for config in configs:
        build_params(METHODS[config.method].Params, config.set, config.method)
        assert config.scenario in SCENARIOS
        assert config.dataset in DATASETS
        assert not config.weights or config.weights.startswith("data/weights/")
    for row in rows:
        assert row.configs or row.label in OTHER_METHODS or "/" in row.label


def test_the_main_table_has_eleven_figures_and_five_seeds():
    rows = table_rows(read_table(FOLDER / "cifar10c_continual.yaml"), "data", "it")
    assert len(rows) == 11
    rmt = next(row for row in rows if row.label == "rmt/source-free")
    assert rmt.published == 17.0
    assert [config.seed for config in rmt.configs] == [1, 2, 3, 4, 5]
    assert rmt.configs[0].set == {"lambda_source": 0, "warm_up_samples": 0}


def test_a_refusal_names_all_that_is_missing(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    assert main(["cifar10c_continual", "--data-dir", str(data)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ")
    expected = ["labels.npy", *(f"{name}.npy" for name in DATASETS["cifar10-c"].domains)]
    expected += ["robustbench_cifar10_Standard.pt", "tta.get cifar10-c", "tta.get cifar10 "]
    expected += ["Standard.pt) there"]
    assert not [name for name in expected if name not in error]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("title", 5, "title must be text"),
        ("citation", [], "citation must be text"),
        ("metric", [1], "metric must be text"),
        ("options", 5, "options must be options by name"),
        ("options", [["dataset"]], "options must be options by name"),
        ("options", {"dataset": [1]}, "dataset, backbone, scenario, weights are text"),
        ("options", {"weights": 5}, "dataset, backbone, scenario, weights are text"),
        ("rows", ["bn"], "rows must be options by label"),
        ("rows", {"bn": 5}, "rows must be options by label"),
        ("rows", {"bn": {"weights": {}}}, "rows must be options by label"),
        ("seeds", 1, "seeds must be a list of whole numbers"),
        ("seeds", [], "seeds must be a list of whole numbers"),
        ("seeds", [1.5], "seeds must be a list of whole numbers"),
    ],
)
def test_a_table_of_ones_own_with_a_wrong_value_gets_one_line(key, value, words, tmp_path, capsys):
    values = yaml.safe_load((FOLDER / "cifar10c_continual.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**values, key: value}))
    assert main([str(tmp_path / "mine.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error


def test_without_a_data_folder_the_refusal_says_so_and_still_names_the_weights(capsys):
    assert main(["cifar100c_continual"]) == 2
    error = capsys.readouterr().err
    assert "TTA_DATA_DIR" in error
    assert "$TTA_DATA_DIR/weights/robustbench_cifar100_Hendrycks2020AugMix_ResNeXt.pt" in error


def test_without_data_no_weights_are_downloaded(monkeypatch, capsys):
    monkeypatch.setattr(missing, "weights_faults", None)
    assert main(["imagenetc_vit"]) == 2
    assert "TTA_DATA_DIR" in capsys.readouterr().err


def write_table(tmp_path, **changes):
    values = {
        "title": "A few digits",
        "citation": "a paper",
        "options": {
            "dataset": "digits-c",
            "backbone": DIGITS.benchmark.backbone,
            "weights": DIGITS.benchmark.weights,
            "num_classes": 10,
            "scenario": "continual",
            "domains": ["fog", "snow"],
            "num_samples": 8,
            "batch_size": 4,
        },
        "rows": {"bn_alpha/half": {"set": {"target_weight": 0.5}}},
        "seeds": [1, 2],
    }
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


@pytest.fixture
def figures(tmp_path, monkeypatch):
    file = tmp_path / "published.csv"
    start, place = "a paper", f"digits-c,{DIGITS.benchmark.backbone},continual,4,5"
    lines = [
        "citation,method,variant,dataset,backbone,scenario,batch_size,severity,metric,value,remarks",
        f"{start},source,,{place},error,25,",
        f"{start},bn_alpha,half,{place},error,12.5,",
        f"{start},bn_alpha,unknown,{place},error,12.5,",
        f"{start},wizard,,{place},error,0,by magic",
        f"another paper,bn,,{place},error,1,",
    ]
    file.write_text("\n".join(lines))
    monkeypatch.setattr(table, "FIGURES", file)


def test_a_table_is_run_and_written(tmp_path, figures, capsys):
    assert main([str(write_table(tmp_path))]) == 0
    text = (tmp_path / "results/published/table.md").read_text()
    assert text in capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    rows = {name.strip(): [cell.strip() for cell in cells] for name, *cells in rows}
    for label, value in (("source", 25), ("bn_alpha/half", 12.5)):
        assert float(rows[label][0]) == value
        assert float(rows[label][3]) == pytest.approx(float(rows[label][1]) - value, abs=0.011)
    assert rows["wizard"] == ["0", "-", "-", "-", "by magic"]
    assert rows["bn_alpha/unknown"][1] == "-"
    assert "bn" not in rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tittle": "x"}, "unknown key 'tittle'; did you mean 'title'"),
        ({"metric": "f1"}, "metric must be one of error, accuracy"),
        ({"options": {"dataset": "digits-c"}}, "lacks options.backbone, options.scenario"),
        ({"citation": "nobody"}, "no such figures of 'nobody'"),
        ({"rows": {"sauce": {}}}, "options for 'sauce'; did you mean 'source'"),
        ({"rows": {"source": {"batchsize": 1}}}, "unknown option 'batchsize'"),
    ],
)
def test_a_faulty_table_is_refused(tmp_path, figures, capsys, changes, message):
    assert main([str(write_table(tmp_path, **changes))]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", [path for path in TABLES if path.stem.startswith("clip_")])
def test_tables_of_clip_show_views_as_published_and_run_nothing_tuned_on_test_labels(path):
    shown = read_table(path)
    assert (shown.metric, shown.options["templates"]) == ("accuracy", "a photo of a {}.")
    for row in table_rows(shown, "data", str(path)):
        tuned = "test labels" in row.remarks
        assert tuned == (row.label.partition("/")[2] in ("tuned", "searched"))
        assert not (tuned and row.configs)
        for config in row.configs:
            params = METHODS[config.method].Params
            viewed = row.label != "tda" and hasattr(params(), "views_from")
            assert viewed == (config.set.get("views_from") == "decoded")


def test_figures_whose_constants_saw_test_labels_say_so():
    figures = published_figures()
    marked = figures.remarks.str.contains("test labels")
    assert marked.sum() == 27
    assert (figures[marked].variant.isin(["tuned", "searched"])).all()
    assert figures.variant.isin(["tuned", "searched"]).sum() == marked.sum()


def test_a_table_of_clip_names_the_data_and_the_package_that_are_missing(tmp_path, capsys):
    assert main(["clip_imagenet_v2_tpt", "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "tta.get imagenet-v2" in error
    assert ("open_clip" in error) == (find_spec("open_clip") is None)


def test_natural_data_sets_have_no_severity():
    figures = published_figures()
    natural = figures.dataset.map(
        lambda name: name in DATASETS and DATASETS[name].default_severity == NATURAL
    )
    assert (figures[natural].severity == "").all()
    assert missing.missing([]) == []


def test_a_wrong_name_is_refused(capsys):
    assert main(["cifar10c_continul"]) == 2
    error = capsys.readouterr().err
    assert "no table or YAML file 'cifar10c_continul'; did you mean 'cifar10c_continual'" in error


def test_there_are_as_many_tables_as_the_readme_says():
    assert len(TABLES) == 27
