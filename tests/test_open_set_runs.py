"""Runs with unknown images: records, tables, page, pictures, resume."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

import tta
from tests.fakes import RandomImages
from tta.commands.compare import main as compare
from tta.commands.report import main as report
from tta.commands.run import main as run
from tta.datasets import open_dataset
from tta.datasets.digits import WEIGHTS
from tta.experiment import build
from tta.experiment.observing.collapse import CollapseWatch, blocks, class_entropy
from tta.experiment.observing.estimate_table import EstimateTable
from tta.experiment.observing.recorder import Recorder
from tta.foundation.errors import UserError
from tta.methods.tent import Tent
from tta.ops.two_groups import two_group_threshold
from tta.reporting.comparing.comparison import compare as compared
from tta.reporting.pictures.reliability import reliability
from tta.reporting.records.runs import Run
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.label_order import grouped_order
from tta.streams.stream import Batch, Stream
from tta.tasks.metrics import open_set_metrics, sample_metrics
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES
from tta.tasks.queue_rejection import rejected_in_queue, rejection_figures, rejection_rates
from tta.tasks.task import ALL_METRICS, task_of

OPTIONS = {
    "dataset": "digits-c",
    "unknown": "letters",
    "unknown_ratio": 0.5,
    "domains": ["fog", "gaussian_noise"],
    "num_samples": 40,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Records of two methods, and of one with another score."""
    folder = tmp_path_factory.mktemp("runs")
    made = [{"method": "source"}, {"method": "bn"}, {"method": "bn", "score": "entropy"}]
    return [
        Run.load(tta.evaluate(output=str(folder), **OPTIONS, **more).path) for more in made
    ], folder


def arrays(path, labels, domains=None):
    digits = open_dataset("digits-c")
    images = digits.images("fog", 5, np.arange(len(labels))).permute(0, 2, 3, 1).numpy()
    domains = np.zeros(len(labels), int) if domains is None else domains
    np.savez(path, images=images, labels=labels, domains=domains)
    return {
        "dataset": f"arrays:{path}",
        "backbone": "test_resnet.r160_in1k",
        "weights": str(WEIGHTS),
        "num_classes": 10,
        "scenario": "recorded",
        "batch_size": 16,
    }


def test_records_hold_scores_and_figures_of_known_images(runs):
    run = runs[0][1]
    summary, samples = run.summary, run.samples()
    assert (summary["task"], summary["score"]) == ("open_set", "energy")
    assert (summary["samples"], summary["known_images"], summary["unknown_images"]) == (120, 80, 40)
    assert samples.score.dtype == np.float32 and samples.known.sum() == 80
    assert not samples.correct[~samples.known].any()
    rows = pd.read_csv(run.path / "domains.csv")
    for name in (metric.name for metric in ALL_METRICS):
        assert rows[name].notna().all()
    for figure in OPEN_SET_FIGURES:
        assert summary[figure.name] == pytest.approx(rows[figure.metric.name].mean())
    right = samples.correct[samples.known]
    assert summary["known_accuracy"] == summary["mean_accuracy"] == pytest.approx(right.mean())
    assert summary["pooled_error"] == pytest.approx(1 - right.mean())
    first = samples.visit == samples.visit[0]
    scores = [samples.score[first & kind] for kind in (samples.known, ~samples.known)]
    above = (scores[0][:, None] > scores[1]).mean()
    assert rows["auroc"][0] == pytest.approx(above, abs=1e-6)  # no ties among energies
    batches = run.batches()
    assert batches["known"].sum() == 80 and batches["correct"].sum() == right.sum()
    run.check()


def test_scores_are_rows_of_their_own_and_columns_appear(runs, capsys):
    loaded, folder = runs
    assert compare([str(folder)]) == 0
    text = capsys.readouterr().out
    for name in ("known acc %", "AUROC %", "FPR95 %", "AUPR-in %", "OSCR %", "H %", "COME FPR %"):
        assert f" {name} " in text
    assert "score energy" in text and "score entropy" in text
    assert "unknown images 40 of 120" in text and "errors are of the known images alone" in text
    (table,) = compared(loaded)
    shown = table.figures["auroc"].round(9).tolist()
    assert sorted(shown) == sorted(round(run.summary["auroc"], 9) for run in loaded)
    counts = table.tests["discordant"].iloc[0][0]
    pair = [run.samples() for run in (loaded[0], loaded[1])]
    known = pair[0].known
    unlike = (pair[0].correct != pair[1].correct)[known].sum()
    assert {counts.only_first + counts.only_second} <= {unlike, 0}
    assert compare([str(folder), "--format", "csv"]) == 0
    assert "h_score" in capsys.readouterr().out.splitlines()[0]


def test_page_and_reliability_take_known_images(runs, tmp_path):
    loaded, folder = runs
    page = tmp_path / "page.html"
    assert report([str(folder), "--output", str(page)]) == 0
    assert "AUROC %" in page.read_text()
    samples = loaded[0].samples()
    known = dataclasses.replace(
        samples,
        correct=samples.correct[samples.known],
        confidence=samples.confidence[samples.known],
        known=None,
    )
    pd.testing.assert_frame_equal(reliability(samples), reliability(known))


def test_what_is_printed(runs, capsys):
    arguments = ["--dataset", "digits-c", "--unknown", "letters", "--unknown-ratio", "0.5"]
    arguments += ["--domains", "fog,gaussian_noise", "--num-samples", "40", "--method", "bn"]
    arguments += ["--output", str(runs[1])]
    assert run([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["reused"] and 0 < summary["auroc"] < 1
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "| AUROC % | FPR95 % |" in text and "80 images are known, 40 unknown" in text


def test_a_classification_run_has_none_of_it(tmp_path, capsys):
    result = tta.evaluate(
        method="bn", domains=["fog"], num_samples=16, score="energy", output=str(tmp_path)
    )
    assert not {"task", "score", "auroc", "known_images"} & {*result.summary}
    assert "known" not in result.batches and "auroc" not in result.domains
    assert Run.load(result.path).config["score"] is None  # without effect
    assert compare([str(tmp_path)]) == 0
    assert "AUROC" not in capsys.readouterr().out
    assert compare([str(tmp_path), "--tables", "open_set"]) == 2
    assert "leave --tables open_set out" in capsys.readouterr().err


def test_visits_of_one_kind_are_left_out_of_means(tmp_path):
    labels = open_dataset("digits-c").labels("fog", 5)[:96].copy()
    domains = np.repeat([0, 1, 2], 32)
    labels[:16] = labels[64:] = -1
    result = tta.evaluate(
        method="source", output=str(tmp_path), **arrays(tmp_path / "x.npz", labels, domains)
    )
    both, known, unknown = result.summary["domains"]
    assert known["auroc"] is None and known["error"] is not None
    assert unknown["error"] is None and (unknown["known"], unknown["unknown"]) == (0, 32)
    assert result.summary["visits_left_out"] == 2
    assert result.summary["auroc"] == both["auroc"]
    assert result.summary["mean_error"] == pytest.approx((both["error"] + known["error"]) / 2)
    loaded = Run.load(result.path)
    loaded.check()
    assert loaded.domain_errors().index.tolist() == ["domain0", "domain1"]
    assert compare([str(tmp_path)]) == 0


def test_streams_without_a_known_image_and_unknown_source_images_are_refused(tmp_path):
    options = arrays(tmp_path / "unknown.npz", np.full(16, -1))
    with pytest.raises(UserError, match="no image of the stream is of a known class"):
        tta.evaluate(method="source", output=str(tmp_path), **options)
    with pytest.raises(UserError, match="16 source images of 'arrays:unknown.npz' are unknown"):
        tta.evaluate(
            method="eata",
            source=options["dataset"],
            domains=["fog"],
            num_samples=16,
            output=str(tmp_path),
        )


def test_a_recorder_goes_on_where_it_was():
    data = RandomImages(20, ("a", "b"))
    plan = plan_stream("continual", data, ScenarioOptions())
    labels = Stream(data, plan, 5).labels()
    labels[::3] = -1
    outputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))

    def feed(recorder, first, last):
        for start in range(first, last, 5):
            batch = Batch(torch.empty(0), start, start + 5, False)
            recorder.update(batch, outputs[start : start + 5])
        return recorder

    whole = feed(Recorder(plan, labels, "logits"), 0, 40)
    whole.close()
    state = feed(Recorder(plan, labels, "logits"), 0, 15).state_dict()
    second = Recorder(plan, labels, "logits")
    second.load_state_dict(state)
    feed(second, 15, 40).close()
    pd.testing.assert_frame_equal(whole.domains(), second.domains())


def test_figures_of_single_samples():
    outputs = torch.tensor([[2.0, 0.0], [0.0, 3.0], [torch.nan, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, -1, 1, -1])
    found = open_set_metrics(outputs, labels, "logits", lambda outputs: outputs.amax(1))
    plain = sample_metrics(outputs[:1], labels[:1], "logits")
    assert torch.equal(found[:4, :1], plain)
    assert found[0].tolist() == [1, 0, 0, 0] and found[4].tolist() == [1, 0, 1, 0]
    assert torch.equal(found[2:4].isnan()[0], torch.tensor([False, True, True, True]))
    assert found[1].isnan().tolist() == [False, False, True, False]
    torch.testing.assert_close(found[5], torch.tensor([2.0, 3.0, torch.nan, 1.0]), equal_nan=True)


def test_unknown_labels_count_for_nothing_where_collapse_is_judged():
    labels = np.tile([0, 1, 2, 3, -1], 100)
    assert class_entropy(labels) == pytest.approx(np.log(4))
    assert blocks(np.where(labels < 0, 4, labels), np.zeros(500, bool)) == [(0, 256), (256, 500)]
    assert blocks(labels, np.zeros(500, bool)) == [(0, 256), (256, 500)]
    assert class_entropy(np.full(3, -1)) == 0


def test_a_block_grows_until_it_has_enough_known_images():
    labels = np.full(3000, -1)
    labels[::20] = np.arange(150) % 10  # 13 of 256
    no_reset = np.zeros(3000, bool)
    # 32 known ones in 768 (39), not in 512 (26); a rest of 696 has 35.
    assert blocks(labels, no_reset) == [(0, 768), (768, 1536), (1536, 2304), (2304, 3000)]
    reset = no_reset.copy()
    reset[600] = True  # a rest of 30 known ones gets no verdict
    assert blocks(labels, reset)[0] == (600, 1368)


def test_unknown_images_are_no_mistakes_where_an_accuracy_is_estimated():
    data = RandomImages(12, ("a",))
    table = EstimateTable(("softmax",), plan_stream("continual", data, ScenarioOptions()))
    correct = np.array([1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0])
    known = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1], bool)
    estimates = [torch.tensor([value]) for value in (0.75, 0.5, 0.25)]
    table.note(0, estimates, correct, known, [4, 4, 4])
    columns = table.batches([0, 4, 8])
    assert columns["estimate_softmax_gap"].tolist() == pytest.approx(
        [0.25, np.nan, 0.25], nan_ok=True
    )
    row = table.domain_row(np.arange(12))
    assert row == pytest.approx({"estimate_softmax": 0.5, "estimate_softmax_gap": 0.25})
    only_unknown = table.domain_row(np.arange(4, 8))
    assert only_unknown["estimate_softmax"] == 0.5
    assert np.isnan(only_unknown["estimate_softmax_gap"])


def test_a_run_with_unknown_images_estimates_the_accuracy_of_known_ones(tmp_path):
    result = tta.evaluate(method="bn", output=str(tmp_path), estimate=("softmax",), **OPTIONS)
    batches = result.batches
    gap = (batches["estimate_softmax"] - batches["correct"] / batches["known"]).abs()
    assert batches["estimate_softmax_gap"].to_numpy() == pytest.approx(gap.to_numpy(), abs=1e-6)


def test_figures_of_a_visit_are_of_the_images_that_count(tmp_path):
    config = tta.RunConfig(method="source", adapt_samples=8, output=str(tmp_path), **OPTIONS)
    experiment = build(config)
    plan, labels = experiment.plan, experiment.stream.labels()
    watch = CollapseWatch(
        plan, labels, np.array([0]), "logits", experiment.backbone, experiment.backbone, lambda _: _
    )
    outputs = torch.zeros(len(plan), 10)
    outputs[torch.from_numpy(plan.counted), torch.arange(10).repeat(12)[: plan.counted.sum()]] = 99
    watch.update(Batch(torch.empty(0), 0, len(plan), False), outputs)
    watch.read()
    row = watch.domain_row(np.flatnonzero(plan.visit == 0))
    assert row["entropy"] == pytest.approx(0, abs=1e-6)  # those adapted to have ln 10
    shown = watch.values[0, (plan.visit == 0) & plan.counted].astype(int)
    assert row["predicted_classes"] == pytest.approx(np.exp(class_entropy(shown)))
    assert (labels[(plan.visit == 0) & plan.counted] < 0).any()


def test_the_queue_begins_anew_at_a_reset_and_rates_what_counts():
    rng = np.random.default_rng(0)
    known = np.tile([True, True, False, False], 50)
    cosine = np.where(known, 0.8, 0.3) + rng.normal(0, 0.02, 200)
    cosine[100:] -= 0.25  # another domain: its known ones lie between the groups of the first
    starts, right, reset = np.arange(0, 200, 20), known.copy(), np.arange(200) == 100
    counted = np.ones(200, bool)
    anew = rejection_figures(cosine, starts, right, known, counted, reset)
    halves = [slice(0, 100), slice(100, 200)]
    each = [rejected_in_queue(1 - cosine[half], starts[:5], counted & False) for half in halves]
    expected = rejection_rates(np.concatenate(each), right, known)
    assert tuple(anew.values()) == pytest.approx(expected) == (1, 1, 1)
    on = rejection_figures(cosine, starts, right, known, counted, counted & False)
    assert on != anew
    counted[:100] = False
    right[:100] = False
    found = rejection_figures(cosine, starts, right, known, counted, reset)
    assert tuple(found.values()) == (1, 1, 1)
    counted[known] = False  # no known one is left
    assert set(rejection_figures(cosine, starts, right, known, counted, reset).values()) == {None}


@pytest.mark.parametrize(
    ("method", "params", "score"),
    [
        ("tent", {}, "energy"),
        ("tent", {"loss": "come"}, "own"),
        ("asr", {}, "energy"),
        ("stamp", {}, "own"),
        ("owttt", {}, "own"),
    ],
)
def test_a_method_without_a_score_of_its_own_goes_by_the_energy(method, params, score):
    options = {**OPTIONS, "domains": ["fog"], "method": method, "set": params}
    own, energy = (build(tta.RunConfig(score=name, **options)) for name in (None, "energy"))
    assert own.score_name == own.resolved()["score"] == score
    assert (own.fingerprint() == energy.fingerprint()) == (score == "energy")


def test_a_score_of_a_method_of_ones_own_is_its_own():
    class Mine(Tent):
        def score(self, outputs):
            return outputs.amax(1)

    backbone = build(tta.RunConfig(method="source", num_samples=8, domains=["fog"])).backbone
    assert Mine(backbone.clone(), Mine.Params()).has_own_score
    assert not Tent(backbone.clone(), Tent.Params()).has_own_score


def test_the_same_images_are_never_both_known_and_unknown(tmp_path):
    with pytest.raises(UserError, match="--unknown letters is the --dataset itself"):
        tta.RunConfig(dataset="letters", unknown="letters")
    options = arrays(tmp_path / "a.npz", np.arange(16) % 10)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    with pytest.raises(UserError, match="the same data as --dataset"):
        build(tta.RunConfig(method="source", unknown=f"arrays:{tmp_path / 'b.npz'}", **options))


def test_unknown_images_beside_data_that_has_some_are_refused(tmp_path):
    options = arrays(tmp_path / "x.npz", np.where(np.arange(20) < 3, -1, np.arange(20) % 10))
    with pytest.raises(UserError, match="3 of the 20 images .* leave --unknown out"):
        build(tta.RunConfig(method="source", unknown="letters", **options))


@pytest.mark.parametrize(
    "scenario", ["markov", "label_shift", "class_imbalanced", "few_classes_per_batch"]
)
def test_scenarios_that_draw_by_class_refuse_unknown_images(tmp_path, scenario):
    options = arrays(tmp_path / "x.npz", np.where(np.arange(60) < 3, -1, np.arange(60) % 10))
    options["scenario"] = scenario
    with pytest.raises(UserError, match="3 of 60 images are of none .* --unknown NAME"):
        build(tta.RunConfig(method="source", **options))


@pytest.mark.parametrize("mix", ["shuffled", "paired", "burst"])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_a_task_of_few_classes_with_its_unknown_images_is_one_batch(mix, ratio):
    options = {**OPTIONS, "num_samples": None, "unknown_ratio": ratio, "unknown_mix": mix}
    options |= {"scenario": "few_classes_per_batch", "tasks": 6, "batch_size": 16}
    experiment = build(tta.RunConfig(method="source", **options))
    plan, edges = experiment.plan, experiment.stream.edges
    assert len(edges) == 2 * 6 + 1
    assert np.flatnonzero(plan.reset_before).tolist() == edges[:-1].tolist()
    unknown = np.add.reduceat(experiment.stream.labels() < 0, edges[:-1])
    known = np.diff(edges) - unknown
    most = {("paired", 0.5): 8, ("paired", 3.0): 2, ("paired", 1.0): 8}.get((mix, ratio))
    assert set(known) == {most or {0.5: 10, 1.0: 8, 3.0: 4}[ratio]}
    assert (unknown == (ratio * known + 0.5).astype(int)).all()


def test_unknown_images_are_one_more_class_of_a_grouped_order():
    labels = np.array([0, -1, 1, 2, -1, 0, 2, -1, 1])
    order = labels[grouped_order(labels, np.random.default_rng(0))]
    assert (np.diff(order) != 0).sum() == 3
    assert (task_of(labels).name, task_of(labels[:1]).name) == ("open_set", "classification")


def test_options_of_unknown_images_need_them():
    with pytest.raises(UserError, match="pass it"):
        tta.RunConfig(unknown_mix="burst")
    with pytest.raises(UserError, match="lays out every batch"):
        tta.RunConfig(unknown="letters", unknown_mix="paired", contiguous_batches=True)


def test_the_rule_of_rejection_of_a_method_is_told(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from tta.methods import Method\n\n\n"
        "class Rejecting(Method):\n"
        '    """Plain, and rejects by the queue."""\n\n'
        '    name = "rejecting"\n    rejection = "queue"\n\n'
        "    def step(self, images):\n        return self.predict(images)\n\n"
        "    def score(self, outputs):\n        return outputs.softmax(1).amax(1)\n"
    )
    arguments = ["--method", f"{tmp_path / 'mine.py'}:Rejecting", "--dataset", "digits-c"]
    arguments += ["--unknown", "letters", "--domains", "fog", "--num-samples", "40"]
    assert run([*arguments, "--output", str(tmp_path)]) == 0
    (file,) = tmp_path.rglob("summary.json")
    loaded = Run.load(file.parent)
    samples, summary = loaded.samples(), loaded.summary
    novelty = 1 - samples.score.astype(float)
    first = novelty[:64] > two_group_threshold(novelty[:64], 0.0)
    second = novelty[64:] > two_group_threshold(novelty, 0.0)
    rejected = np.concatenate([first, second])
    assert summary["acc_n"] == pytest.approx(rejected[~samples.known].mean())
    assert summary["acc_s"] == pytest.approx((samples.correct & ~rejected)[samples.known].mean())
    assert "with its rule of rejection ACC S " in capsys.readouterr().out
