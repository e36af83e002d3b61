"""Runs on label maps: figures, records, resuming, refusals, and what is made of them."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

import tta
from tests.fakes import RandomImages, make_backbone
from tests.segmentation import CLASSES, Shapes, trained
from tta.commands.compare import main as compare
from tta.commands.plot import main as plot
from tta.commands.report import main as report
from tta.config import RunConfig
from tta.datasets.subset import KeptClasses, Subset
from tta.experiment import build
from tta.experiment.given import Given
from tta.experiment.segmenting import check_fits
from tta.foundation.errors import UserError
from tta.foundation.stops import Stopped
from tta.methods.bn import BatchNormOne
from tta.methods.tent import Tent
from tta.reporting.comparing.comparison import compare as comparisons_of
from tta.reporting.pictures.strips import coloured, colours_of
from tta.reporting.records.runs import Run
from tta.reporting.run_report import run_report
from tta.tasks.confusion import class_iou, mean_iou

LOSS_SIZES = ("stride", "input")
PLAIN = {"mean": 0.5, "std": 0.25, "input_size": (3, 32, 32), "device": "cpu", "no_cache": True}


def evaluated(folder, method="source", dataset=None, **options):
    dataset = Shapes() if dataset is None else dataset
    options = {**PLAIN, "batch_size": 1, **options}
    parts = {"model": trained(), "dataset": dataset, "source": Shapes(domains=("plain",))}
    return tta.evaluate(method=method, output=str(folder), **parts, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for method in ("source", "bn"):
        evaluated(root, method, batch_size=4)
    return root


def test_every_figure_follows_from_the_recorded_matrices(folder):
    run = Run.load(next(folder.rglob("bn/*")))
    run.check()
    maps, summary = run.matrices(), run.summary
    assert maps.matrix.shape == (36, 3, 4)
    by_visit = [maps.matrix[maps.visit == visit].sum(0) for visit in range(3)]
    for row, matrix in zip(summary["domains"], by_visit, strict=True):
        assert row["miou"] == pytest.approx(float(mean_iou(matrix)))
        assert row["pixels"] == matrix.sum() == 12 * 30 * 30
    assert summary["mean_miou"] == pytest.approx(np.mean([mean_iou(m) for m in by_visit]))
    assert summary["pooled_miou"] == pytest.approx(float(mean_iou(maps.matrix.sum(0))))
    images = mean_iou(maps.matrix)
    assert summary["domains"][0]["image_miou"] == pytest.approx(images[:12].mean())
    stream = [values[0] for values in summary["class_iou"].values()]
    assert stream == pytest.approx(class_iou(maps.matrix.sum(0)).tolist())
    classes = pd.read_csv(run.path / "classes.csv")
    assert classes["class"].tolist() == list(CLASSES) * 3
    assert classes["iou"].tolist()[:3] == pytest.approx(class_iou(by_visit[0]).tolist())
    assert not {"error", "accuracy"} & {*summary["domains"][0]}


def test_the_network_knows_the_shapes_and_batch_statistics_help_in_the_dark(folder):
    table = tta.load_runs(folder).set_index("method")
    assert table.loc["source", "miou.plain"] > 0.7
    assert table.loc["bn", "miou.dark"] > table.loc["source", "miou.dark"] + 0.1
    assert not table.loc["source", "warnings"]


@pytest.mark.parametrize("method", ["tent", "cotta", "rmt"])
def test_a_run_goes_on_to_the_same_bytes(method, tmp_path, monkeypatch):
    options = {"set": {"scales": [1.0, 0.5]}} if method == "cotta" else {}
    options["checkpoint_every"] = 5
    whole = evaluated(tmp_path / "whole", method, **options)
    kind, seen = tta.METHODS[method], []
    step = kind.step

    def breaks(self, images):
        if len(seen) == 17:
            raise Stopped()
        seen.append(None)
        return step(self, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kind, "step", breaks)
        evaluated(tmp_path / "parts", method, **options)
    resumed = evaluated(tmp_path / "parts", method, resume=True, **options)
    assert resumed.summary["resumed_at"] == [17]  # stopped between two batches
    for name in ("batches.csv", "domains.csv", "classes.csv", "matrices.npz", "strips.npz"):
        assert (whole.path / name).read_bytes() == (resumed.path / name).read_bytes(), name


@pytest.mark.parametrize("method", ["source", "tent", "rmt"])
def test_images_of_odd_size_and_without_a_pixel_that_counts(method, tmp_path):
    data = Shapes(5, (33, 47), empty=(0, 3))
    found = evaluated(tmp_path, method, data, input_size=(3, 33, 47), set={})
    assert [row["pixels"] for row in found.domains.to_dict("records")] == [3 * 31 * 45] * 3
    batches = pd.read_csv(found.path / "batches.csv")
    assert (batches["miou"].isna() == (batches["pixels"] == 0)).all()
    assert found.summary["nonfinite_images"] == 0
    Run.load(found.path).check()


def test_a_domain_without_a_pixel_that_counts_has_no_figure_and_no_part_in_the_mean(tmp_path):
    class Empty(Shapes):
        def label_maps(self, domain, severity, indices):
            maps = super().label_maps(domain, severity, indices)
            return maps if domain == "plain" else torch.full_like(maps, 255)

    found = evaluated(tmp_path, "bn", Empty())
    assert found.domains["miou"].isna().tolist() == [False, True, True]
    assert found.summary["mean_miou"] == found.domains["miou"][0]
    Run.load(found.path).check()
    assert "–" in run_report(found.summary | {"path": ""}, "error")


def test_outputs_that_are_no_numbers_are_wrong_and_said_to_be(tmp_path, monkeypatch):
    def step(self, images):
        seen.append(None)
        outputs = self.predict(images)
        return outputs if len(seen) <= 12 else outputs * torch.nan

    seen = []
    monkeypatch.setattr(BatchNormOne, "step", step)
    found = evaluated(tmp_path, "bn")
    assert found.summary["nonfinite_at_image"] == 12
    assert found.summary["nonfinite_images"] == 24
    assert found.domains["miou"].tolist()[1:] == [0.0, 0.0]
    assert found.summary["mean_ece"] is None
    Run.load(found.path).check()


def test_who_says_one_class_has_collapsed_and_a_hard_domain_has_not(tmp_path, monkeypatch):
    data = Shapes(40, domains=("plain", "noise"))
    assert evaluated(tmp_path, "source", data).summary["collapsed_at_batch"] is None

    def step(self, images):
        outputs = self.predict(images)
        seen.append(None)
        return outputs if len(seen) <= 32 else outputs + torch.tensor([99.0, 0, 0]).view(1, 3, 1, 1)

    seen = []
    monkeypatch.setattr(Tent, "step", step)
    found = evaluated(tmp_path, "tent", data)
    assert found.summary["collapsed_at_batch"] == 33


def test_a_model_with_other_numbers_of_classes_is_doubted(tmp_path):
    class Renumbered(Shapes):
        def label_maps(self, domain, severity, indices):
            maps = super().label_maps(domain, severity, indices)
            return torch.where(maps == 255, maps, (maps + 1) % 3)

    (warning,) = evaluated(tmp_path, "source", Renumbered()).summary["warnings"]
    assert "in another order" in warning


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "lame"}, "methods that segment: bn, bn_alpha"),
        ({"method": "deyo"}, "methods that segment"),  # its base segments, it has not said so
        ({"scenario": "correlated"}, "orders images by their classes"),
        ({"scenario": "label_shift"}, "orders images by their classes"),
        ({"scenario": "class_imbalanced"}, "orders images by their classes"),
        ({"scenario": "few_classes_per_batch"}, "orders images by their classes"),
        ({"scenario": "markov"}, "orders images by their classes"),
        ({"scenario": "recurring", "dirichlet": 0.1}, "orders images by their classes"),
        ({"unknown": "digits-c"}, "--unknown mixes in"),
        ({"estimate": ("aetta",)}, "--estimate estimates"),
        ({"evidence": ("snd",)}, "--evidence follows"),
        ({"score": "energy"}, "--score says"),
        ({"probe": "source"}, "--probe measures"),
        ({"window": 4}, "--window predicts"),
        ({"adapt_classes": 2}, "--adapt-classes chooses"),
    ],
)
def test_what_needs_a_class_for_each_image_is_refused(options, words, tmp_path):
    with pytest.raises(UserError, match=words):
        evaluated(tmp_path, **{"method": "source", **options})


def test_domains_come_back_in_rounds(tmp_path):
    found = evaluated(tmp_path, "bn", scenario="recurring", visits=3, num_samples=4)
    assert len(found.summary["visits"]) == 3
    rows = found.domains.groupby(np.arange(9) // 3)["miou"].mean()
    assert found.summary["visits"] == pytest.approx(rows.tolist())


def test_backbone_and_data_are_both_for_classes_of_images_or_both_of_pixels():
    with pytest.raises(UserError, match="choose a --backbone that segments"):
        check_fits(make_backbone("batch_norm"), Shapes())
    with pytest.raises(UserError, match="choose a --backbone that classifies"):
        check_fits(make_backbone("segmenting"), RandomImages())
    check_fits(make_backbone("segmenting"), Shapes())


def test_source_images_are_labelled_as_the_test_data(tmp_path):
    options = {"method": "rmt", "num_samples": 2, "output": str(tmp_path), "device": "cpu"}
    with pytest.raises(UserError, match="choose a --source like the test data"):
        tta.evaluate(dataset="digits-seg", source="digits", **options)
    with pytest.raises(UserError, match="'digits-seg-source' have label maps"):
        tta.evaluate(dataset="digits-c", source="digits-seg-source", **options)


def test_compare_ranks_by_miou_and_tests_over_images(folder, capsys):
    (comparison,) = comparisons_of([Run.load(path) for path in sorted(folder.glob("*/*/*/*/*"))])
    assert [row.label for row in comparison.rows] == ["bn", "source"]
    assert comparison.tests.loc["source", "p_images"] < 0.05
    assert comparison.tests.loc["source", "low"] > 0
    assert comparison.best.loc["bn", "mean"] and not comparison.best.loc["source", "mean"]
    assert compare([str(folder), "--baseline", "source", "--wide"]) == 0
    text = capsys.readouterr().out
    means = {row.label: 100 * (1 - row.means.mean()) for row in comparison.rows}
    assert "online mIoU in %" in text and "error in %" not in text
    assert all(f"{mean:.2f}" in text for mean in means.values())
    assert f"{means['bn'] - means['source']:+.2f}" in text
    assert all(f" {name} " in text for name in CLASSES)
    assert compare([str(folder), "--format", "csv"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split(",")
    assert {"miou_plain", "mean_miou", "test_p_images"} <= {*header}


def test_pictures_and_page_are_of_miou(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for kind in ("strips", "classes", "stream", "heatmap", "reliability", "cost"):
        file = tmp_path / f"{kind}.svg"
        assert plot([kind, str(folder), "-o", str(file)]) == 0, capsys.readouterr().err
        assert file.stat().st_size > 5000
    classify = {"method": "bn", "dataset": "digits-c", "domains": ["fog"], "num_samples": 16}
    tta.evaluate(**classify, output=str(tmp_path / "mixed"), device="cpu")
    shutil.copytree(folder, tmp_path / "mixed", dirs_exist_ok=True)
    mixed = [str(tmp_path / "mixed"), "--split", "-o", str(tmp_path / "both.png")]
    assert plot(["reliability", *mixed]) == 0
    assert "left out" not in capsys.readouterr().err
    pytest.importorskip("jinja2")
    assert report([str(folder), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert 'mean <span class="metric">mIoU</span>' in page and "IoU % of each class" in page


def test_strips_hold_the_image_its_labels_and_the_prediction(folder):
    run = Run.load(next(folder.rglob("source/*")))
    strips, maps = run.strips(), run.matrices()
    assert strips.domain.tolist() == ["plain", "dark", "noise"]
    for at, position in enumerate(strips.position):
        label, predicted = strips.strip[at, 3], strips.strip[at, 4]
        matrix = np.zeros((3, 4), int)
        np.add.at(matrix, (label[label < 255], predicted[label < 255]), 1)
        assert (matrix == maps.matrix[position]).all()


def test_pictures_are_of_visits_along_the_whole_stream(tmp_path):
    options = {"scenario": "recurring", "visits": 7, "num_samples": 2}
    found = evaluated(tmp_path, dataset=Shapes(2), **options)
    positions = Run.load(found.path).strips().position
    assert len(positions) == 16 and positions[0] == 1 and positions[-1] == 41
    assert np.diff(positions).max() <= 4


def test_colours_are_those_of_the_data_set(tmp_path):
    class Coloured(Shapes):
        palette = ((128, 64, 128), (70, 70, 70), (0, 0, 142))

    strips = Run.load(evaluated(tmp_path, dataset=Coloured(2)).path).strips()
    assert strips.palette.tolist() == list(map(list, Coloured.palette))
    shown = coloured(np.array([[2, 255]]), colours_of(strips, CLASSES)) * 255
    assert shown.round().tolist() == [[[0, 0, 142], [0, 0, 0]]]
    plain = colours_of(replace(strips, palette=None), CLASSES)
    assert [*plain] == [*CLASSES, "does not count"] and plain["does not count"].max() == 0.75


def test_source_maps_get_the_numbers_of_the_test_data_classes():
    kept = KeptClasses(Shapes(), np.array([-1, 1, 0]), 2)
    rows = np.arange(3)
    before, after = (data.label_maps("plain", 0, rows) for data in (Shapes(), kept))
    assert len(kept.labels("plain", 0)) == 12
    for old, new in ((0, 255), (1, 1), (2, 0), (255, 255)):
        assert (after[before == old] == new).all()
    assert kept.digest() != Subset(Shapes(), {name: None for name in kept.domains}).digest()


def test_what_is_prepared_depends_on_the_size_of_the_loss():
    backbone = make_backbone("segmenting")
    stride = backbone.preprocessing
    backbone.at_input_size = True
    assert backbone.preprocessing != stride


def test_a_damaged_record_is_refused(folder, tmp_path):
    path = next(folder.rglob("bn/*"))
    shutil.copytree(path, tmp_path / "run")
    with np.load(path / "matrices.npz") as arrays:
        stored = dict(arrays)
    stored["matrix"][0, 0, 0] += 1
    np.savez_compressed(tmp_path / "run" / "matrices.npz", **stored)
    with pytest.raises(UserError, match="does not fit its summary"):
        Run.load(tmp_path / "run").matrices()


def test_losses_are_of_pixels_at_the_stride_or_of_those_of_the_input(tmp_path):
    found = [evaluated(tmp_path, "tent", loss_size=size) for size in ("stride", "input")]
    assert found[0].path != found[1].path
    stride, whole = (one.summary["pooled_miou"] for one in found)
    assert stride != whole and stride == pytest.approx(whole, abs=0.1)
    plain = [
        evaluated(tmp_path, "bn", loss_size=size).summary["pooled_miou"] for size in LOSS_SIZES
    ]
    assert plain[0] == plain[1]
    with pytest.raises(UserError, match="--loss-size is for label maps"):
        tta.evaluate(dataset="digits-c", loss_size="input", output=str(tmp_path))


def test_an_adapted_network_gives_maps_of_the_images_size():
    images = Shapes().images("dark", 0, np.arange(4)).float() / 255
    adapted = tta.adapt(trained(), "tent", mean=0.5, std=0.25, input_size=(3, 32, 32))
    assert adapted(images).shape == (4, 3, 32, 32)
    assert adapted.method.params.optimizer == "sgd"
    with pytest.raises(UserError, match="methods that segment"):
        tta.adapt(trained(), "lame", mean=0.5, std=0.25, input_size=(3, 32, 32))


def test_source_maps_of_a_program():
    data, rows = Shapes(), np.arange(12)
    images = data.images("plain", 0, rows).float() / 255
    maps = data.label_maps("plain", 0, rows)
    shape = {"mean": 0.5, "std": 0.25, "input_size": (3, 32, 32), "batch_size": 4}

    def outputs(source):
        adapted = tta.adapt(trained(), "rmt", source=source, **shape)
        return [adapted(images[:4]) for _ in range(2)][1]

    batches = outputs([(images[:5], maps[:5].long()), (images[5:], maps[5:].long())])
    assert torch.equal(batches, outputs(TensorDataset(images, maps)))
    assert not torch.equal(batches, outputs([(images, 2 - maps.clamp_max(2))]))
    with pytest.raises(UserError, match=r"must be maps of class numbers \[B, H, W\], but are"):
        outputs([(images, torch.zeros(12).long())])
    with pytest.raises(UserError, match="'digits' has a class for each image"):
        outputs("digits")
    with pytest.raises(UserError, match="holds 3: number classes from 0 to 2, and pixels"):
        outputs([(images, torch.full_like(maps, 3))])


def test_label_maps_of_ones_own_data_are_resized_whole_with_their_images():
    data, options = Shapes(6, (24, 48)), {**PLAIN, "input_size": (24, 24)}
    given = Given(dataset=data, model=trained())
    experiment = build(RunConfig(method="source", dataset="shapes", **options), given=given)
    assert experiment.dataset.resizing.how == "squash"
    rows = np.arange(4)
    images, maps = experiment.stream.images(rows), experiment.stream.label_maps(rows)
    assert images.shape[-2:] == maps.shape[-2:] == (24, 24)
    raw = experiment.dataset.label_maps(experiment.plan.domains[0], 0, experiment.plan.index[rows])
    assert torch.equal(maps, raw[:, :, 1::2])  # the nearest pixel, nothing cut off
