"""Pictures: what they show, and that they are files of the kind asked for."""

import numpy as np
import pandas as pd
import pytest

from tests.fakes import RandomImages
from tests.reporting.fake_runs import seal, write_run
from tta.commands.plot import main
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.reporting.comparing.comparison import compare
from tta.reporting.pictures import marks
from tta.reporting.pictures.along_stream import curve, domain_bands, draw_along_stream
from tta.reporting.pictures.end_labels import spread
from tta.reporting.pictures.heat_map import draw_heat_map
from tta.reporting.pictures.marks import line_styles, marker_styles
from tta.reporting.pictures.reliability import draw_reliability, reliability
from tta.reporting.pictures.samples import draw_samples
from tta.reporting.pictures.style import paper_style
from tta.reporting.pictures.trade_off import draw_trade_off, draw_uploads, pareto_front
from tta.reporting.records.finding import find_runs
from tta.reporting.records.runs import Run

pytest.importorskip("matplotlib", reason="pictures need matplotlib (extra `plots`)")
from matplotlib.colors import to_rgba

BATCHES = pd.DataFrame(
    {
        "position": [0, 10, 20, 25],
        "size": [10, 10, 5, 10],
        "correct": [10, 5, 5, 0],
        "domain": ["a", "a", "b", "a"],
        "severity": [5] * 4,
    }
)


@pytest.fixture(autouse=True)
def style():
    with paper_style():
        yield


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for number, skill in enumerate((1.5, 1.0, 0.2)):
        cost = {"stream_seconds": 3.0 - number, "peak_memory_bytes": 2**20}
        write_run(folder, f"m{number}", skill=skill, images=20, cost=cost, title=f"$m_{number}<")
    return folder


def comparison_of(folder):
    return compare(find_runs([folder])[0])[0]


def middles(points):
    """Return the rows of batches alone, without the ends of stretches."""
    return points[points["position"].isin(BATCHES["position"] + BATCHES["size"] / 2)]


def test_running_means_weigh_batches_by_their_images_and_start_anew_with_a_domain():
    points = curve(BATCHES, 2, visits=3)
    assert middles(points)["error"].tolist() == [0.0, 0.5, 0.0, 1.0]
    np.testing.assert_allclose(middles(points)["running"], [0, 5 / 20, 0, 1])
    assert points["position"].tolist() == [0, 5, 15, 20, 20, 22.5, 25, 25, 30, 35]
    np.testing.assert_allclose(points["running"], [0, 0, 0.25, 0.25, 0, 0, 0, 1, 1, 1])


def test_a_domain_of_one_batch_shows_its_own_error():
    batches = pd.DataFrame(
        {"position": [0, 60, 120], "size": 60, "correct": [10, 6, 48], "domain": list("abc")}
    ).assign(severity=5)
    points = curve(batches, 10, visits=3)
    expected = np.repeat([50 / 60, 54 / 60, 12 / 60], 3)
    np.testing.assert_allclose(points["running"], expected)


def test_a_change_of_severity_is_a_border_too():
    batches = BATCHES.assign(domain="a", severity=[1, 2, 2, 3])
    np.testing.assert_allclose(middles(curve(batches, 9, 3))["running"], [0, 0.5, 5 / 15, 1])


def test_a_batch_across_a_border_is_none_of_its_own():
    batches = BATCHES.assign(domain=["a", "mixed", "b", "b"])
    np.testing.assert_allclose(middles(curve(batches, 9, 2))["running"], [0, 0.5, 0, 10 / 15])


def test_means_run_through_interleaved_domains():
    np.testing.assert_allclose(
        middles(curve(BATCHES, 2, visits=2))["running"], [0, 5 / 20, 5 / 15, 10 / 15]
    )
    assert domain_bands(BATCHES, 2) == [("mixed", 0, 35)]


def test_the_rest_of_a_domain_has_no_error_of_its_own():
    batches = BATCHES.assign(size=[10, 10, 4, 10])
    points = curve(batches, 2, visits=3)
    assert points["error"].dropna().tolist() == [0.0, 0.5, 1.0]


def test_bands():
    assert domain_bands(BATCHES, 3) == [("a", 0, 20), ("b", 20, 25), ("a", 25, 35)]


def test_stream_shows_each_method_and_domain(runs):
    comparison = comparison_of(runs)
    figure = draw_along_stream(comparison.rows, "accuracy", 7.2, 3)
    (axes,) = figure.axes
    assert len(axes.lines) == 2 * 3
    labels = {row.label for row in comparison.rows}
    assert {text.get_text() for text in axes.texts} == set("abcdefgh") | labels
    assert not figure.legends
    expected = 100 * (1 - curve(comparison.rows[0].runs[0].batches(), 3, 8)["running"])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), expected)
    for row, line in zip(comparison.rows, axes.lines[1::2], strict=True):
        (label,) = [text for text in axes.texts if text.get_text() == row.label]
        assert label.xy == (line.get_xdata()[-1], line.get_ydata()[-1])
        assert label.arrow_patch.get_edgecolor() == to_rgba(line.get_color())


def test_stream_marks_where_outputs_are_not_finite(tmp_path):
    path = write_run(tmp_path, diverged=True)
    (axes,) = draw_along_stream(comparison_of(path).rows, "error", 7.2, 3).axes
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert cross.get_xdata() == [160]


def test_labels_keep_their_distance_and_stay_inside():
    sizes = np.full(4, 0.1)
    moved = spread(np.array([0.5, 0.98, 0.52, 0.1]), sizes)
    np.testing.assert_allclose(moved, [0.46, 0.95, 0.56, 0.1])
    crowded = np.sort(spread(np.full(5, 1.0), np.full(5, 0.2)))
    np.testing.assert_allclose(crowded, [0.1, 0.3, 0.5, 0.7, 0.9])


def test_heat_map_marks_the_best(runs):
    comparison = comparison_of(runs)
    axes = draw_heat_map(comparison, "error", 7.2).axes[0]
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert len(axes.texts) == 3 * 9
    assert len(bold) == comparison.best.to_numpy().sum()
    assert f"{100 * comparison.figures['mean'].iloc[0]:.1f}" in bold


def test_pareto_front():
    costs, values = np.array([1.0, 2, 2, 3, 4]), np.array([0.5, 0.4, 0.7, 0.7, 0.9])
    assert pareto_front(costs, values).tolist() == [0, 2, 4]


def test_cost_needs_a_record_of_it(runs, tmp_path):
    comparison = comparison_of(runs)
    assert draw_trade_off(comparison, "accuracy", "ms_per_image", 3.5).axes
    old = write_run(tmp_path / "old", passes={})
    with pytest.raises(UserError, match="no run has recorded forward"):
        draw_trade_off(comparison_of(old), "error", "passes", 3.5)


def test_uploads_are_sorted_along_a_line(tmp_path, runs):
    with pytest.raises(UserError, match="none of these runs uploads"):
        draw_uploads(comparison_of(runs), "error", 3.5)
    for budget, skill in ((0.5, 1.0), (0.1, 0.5), (1.0, 1.2)):
        path = write_run(runs, "cema", skill=skill, images=20, upload_fraction=budget)
        (path / "config.yaml").write_text(f"upload_budget: {budget}")
        seal(path)
    axes = draw_uploads(comparison_of(runs), "error", 3.5).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [10.0, 50.0, 100.0]
    assert len(axes.lines) == 1 + 3


def test_reliability_bins_agree_with_the_recorded_error(runs):
    path = write_run(runs, "tent", domains=("a",), images=100)
    run = Run.load(path)
    table = reliability(run.samples())
    gap = (table["share"] * (table["confidence"] - table["accuracy"]).abs()).sum()
    assert gap == pytest.approx(run.summary["mean_ece"], abs=2e-3)
    assert table["share"].sum() == pytest.approx(1)
    assert len(draw_reliability(comparison_of(path).rows, 3.5).axes) == 2
    upper, _ = draw_reliability(comparison_of(path).rows, 3.5).axes
    pooled = f"{100 * run.summary['pooled_ece']:.2f}"
    assert f"pooled ECE {pooled} %\nmean ECE {pooled} %" in upper.get_title()  # of one domain
    bare = write_run(runs, "bn", samples=False)
    with pytest.raises(UserError, match="has no samples"):
        draw_reliability(comparison_of(bare).rows, 3.5)


def test_reliability_of_a_diverged_method_is_not_a_number(tmp_path):
    path = write_run(tmp_path, diverged=True)
    assert reliability(Run.load(path).samples())["share"].sum() == pytest.approx(0.5)
    upper, _ = draw_reliability(comparison_of(path).rows, 3.5).axes
    assert upper.get_title() == "bn (outputs not finite\nfrom batch 17)\nECE is not a number"


def test_samples_show_every_domain():
    figure = draw_samples(RandomImages(9, ("a", "b")), None, 2, 3.5)
    shown = [axes.get_title() for axes in figure.axes if axes.images]
    assert shown == ["a", "b"]
    assert figure.axes[0].images[0].get_array().shape == (32, 64, 3)
    with pytest.raises(UserError, match="no severity 7"):
        draw_samples(RandomImages(), 7, 2, 3.5)
    with pytest.raises(UserError, match="lower --count"):
        draw_samples(RandomImages(3), 5, 4, 3.5)


def test_a_method_keeps_its_marks_whatever_else_is_shown():
    everything = {name: name for name in METHODS}
    for styles in (line_styles, marker_styles):
        together = styles(everything)
        assert len({str(style) for style in together.values()}) == len(together)
        for name in METHODS:
            assert styles({name: name})[name] == together[name]
            pair = {"mine": "my_method", f"{name} (collapsed)": name}
            assert styles(pair)[f"{name} (collapsed)"] == together[name]
    first = [line_styles(everything)[name]["color"] for name in marks.METHODS[:7]]
    assert set(first) == set(marks.COLOURS)


def test_every_method_has_a_place():
    assert sorted(marks.METHODS) == sorted(METHODS)
    assert len(marks.METHODS) <= marks.COUNT


def test_rows_of_one_method_and_methods_of_ones_own_are_told_apart():
    labels = {f"tent (lr={number})": "tent" for number in range(4)}
    labels |= {f"own {number}": f"own_{number}" for number in range(20)}
    for styles in (line_styles(labels), marker_styles(labels)):
        assert len({str(style) for style in styles.values()}) == len(labels)
    alone = line_styles({"tent (lr=1)": "tent", "tent (lr=2)": "tent"})
    assert len({style["color"] for style in alone.values()}) == 1
    assert line_styles({"a": "own"})["a"] == line_styles({"b": "own"})["b"]


@pytest.mark.parametrize("largest", [33.0, 900.0, 4e5])
def test_logarithmic_axes_have_numbers(tmp_path, largest):
    for method, seconds in (("bn", 3.0), ("rmt", largest)):
        write_run(tmp_path, method, cost={"stream_seconds": seconds})
    figure = draw_trade_off(comparison_of(tmp_path), "error", "ms_per_image", 3.5)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    shown = [
        label.get_text()
        for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if low <= place <= high
    ]
    assert len(shown) >= 3
    assert all(float(text) > 0 for text in shown)
    assert axes.get_xlabel().endswith("logarithmic")


@pytest.mark.parametrize(("suffix", "magic"), [("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_files(runs, tmp_path, suffix, magic):
    file = tmp_path / f"a.{suffix}"
    assert main(["heatmap", str(runs), "-o", str(file), "--width", "column"]) == 0
    assert file.read_bytes().startswith(magic)


def test_equal_pictures_are_equal_files(runs, tmp_path):
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for file in files:
        assert main(["stream", str(runs), "-o", str(file), "--methods", "m0,m2"]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-o", "a.gif"], "tells no format"),
        (["-o", "nowhere/a.png"], "cannot write"),
        (["-o", "a.png", "--methods", "m7"], "did you mean"),
        (["-o", "a.png", "--window", "0"], "at least 1"),
    ],
)
def test_bad_input(runs, tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["stream", str(runs), *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_without_matplotlib(runs, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert main(["heatmap", str(runs), "-o", "a.png"]) == 2
    assert "pip install" in capsys.readouterr().err
