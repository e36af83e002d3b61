"""Pictures: what they show, and that they are files of the kind asked for."""

import numpy as np
import pandas as pd
import pytest

from tests.fakes import RandomImages
from tests.reporting.fake_runs import write_run
from tta.errors import UserError
from tta.plot import main
from tta.reporting.comparison import compare
from tta.reporting.finding import find_runs
from tta.reporting.pictures.along_stream import curve, domain_bands, draw_along_stream
from tta.reporting.pictures.heat_map import draw_heat_map
from tta.reporting.pictures.reliability import draw_reliability, reliability
from tta.reporting.pictures.samples import draw_samples
from tta.reporting.pictures.style import line_styles, marker_styles, paper_style
from tta.reporting.pictures.trade_off import draw_trade_off, draw_uploads, pareto_front
from tta.reporting.records import Run

pytest.importorskip("matplotlib", reason="pictures need matplotlib (extra `plots`)")

BATCHES = pd.DataFrame(
    {
        "position": [0, 10, 20, 25],
        "size": [10, 10, 5, 10],
        "correct": [10, 5, 5, 0],
        "domain": ["a", "a", "b", "a"],
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


def test_running_means_weigh_batches_by_their_images():
    points = curve(BATCHES, 2)
    assert points["error"].tolist() == [0.0, 0.5, 0.0, 1.0]
    np.testing.assert_allclose(points["running"], [0, 5 / 20, 5 / 15, 10 / 15])


def test_the_rest_of_a_domain_has_no_error_of_its_own():
    batches = BATCHES.assign(size=[10, 10, 4, 10])
    assert np.isnan(curve(batches, 2)["error"]).tolist() == [False, False, True, False]


def test_bands():
    assert domain_bands(BATCHES) == [("a", 0, 20), ("b", 20, 25), ("a", 25, 35)]


def test_stream_shows_each_method_and_domain(runs):
    comparison = comparison_of(runs)
    (axes,) = draw_along_stream(comparison.rows, "accuracy", 7.2, 3).axes
    assert len(axes.lines) == 2 * 3
    assert {text.get_text() for text in axes.texts} == set("abcdefgh")
    expected = 100 * (1 - curve(comparison.rows[0].runs[0].batches(), 3)["running"])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), expected)


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
    bare = write_run(runs, "bn", samples=False)
    with pytest.raises(UserError, match="has no samples"):
        draw_reliability(comparison_of(bare).rows, 3.5)


def test_reliability_of_a_diverged_method_is_not_a_number(tmp_path):
    path = write_run(tmp_path, diverged=True)
    assert reliability(Run.load(path).samples())["share"].sum() == pytest.approx(0.5)
    upper, _ = draw_reliability(comparison_of(path).rows, 3.5).axes
    assert upper.get_title() == "bn (outputs not finite from batch 17)\nECE is not a number"


def test_samples_show_every_domain():
    figure = draw_samples(RandomImages(9, ("a", "b")), None, 2, 3.5)
    shown = [axes.get_title() for axes in figure.axes if axes.images]
    assert shown == ["a", "b"]
    assert figure.axes[0].images[0].get_array().shape == (32, 64, 3)
    with pytest.raises(UserError, match="no severity 7"):
        draw_samples(RandomImages(), 7, 2, 3.5)
    with pytest.raises(UserError, match="lower --count"):
        draw_samples(RandomImages(3), 5, 4, 3.5)


def test_styles_differ_without_colour_between_neighbours():
    labels = [str(number) for number in range(35)]
    lines, markers = line_styles(labels), marker_styles(labels)
    assert len({str(style) for style in lines.values()}) == 35
    assert len({str(style) for style in markers.values()}) == 35
    for first, second in zip(labels, labels[1:], strict=False):
        assert lines[first]["linestyle"] != lines[second]["linestyle"]
        assert markers[first]["marker"] != markers[second]["marker"]


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
