"""Moved copies of images: their order, their pixels, and how often they keep their class."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.fakes import RandomImages
from tests.reporting.test_checkpoint import config, records, resumed, run_killed
from tta.commands.compare import main as compare
from tta.config import RunConfig
from tta.datasets import open_dataset
from tta.experiment import build, run
from tta.foundation.errors import UserError
from tta.ops.views.shift import moved
from tta.reporting.run_report import run_report
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream, batch_edges
from tta.streams.translations import WAYS, agreements, translation_figures

DATA = RandomImages(size=50)
RUN = {"domains": ("fog", "contrast"), "num_samples": 40, "batch_size": 16, "device": "cpu"}


def plan(**options):
    return plan_stream("translations", DATA, ScenarioOptions(**{"batch_size": 20, **options}))


@pytest.mark.parametrize("batch_size", [1, 20, 64])
def test_every_batch_comes_again_moved_each_way(batch_size):
    made = plan(batch_size=batch_size, translate_by=2)
    usual = plan_stream("continual", DATA, ScenarioOptions(batch_size=batch_size))
    plain, edges = batch_edges(usual, batch_size, False), batch_edges(made, batch_size, False)
    assert len(edges) - 1 == 5 * (len(plain) - 1)
    for number, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        first, last = plain[number // 5], plain[number // 5 + 1]
        for column in ("domain", "severity", "index", "visit"):
            found, wanted = getattr(made, column)[start:stop], getattr(usual, column)[first:last]
            assert np.array_equal(found, wanted)
        assert (made.shift[start:stop] == 2 * np.array(WAYS[number % 5])).all()
    assert not made.reset_before.any()


def test_the_distance_is_part_of_the_stream():
    assert plan().digest != plan(translate_by=2).digest
    usual = plan_stream("continual", DATA, ScenarioOptions())
    assert usual.digest == dataclasses.replace(usual, shift=None).digest


def test_cyclic_copies_come_in_on_the_other_side():
    made, usual = (plan(domains=("b",), translate_edges=edges) for edges in ("wrap", "repeat"))
    assert made.digest != usual.digest
    assert np.array_equal(made.shift[:, :2], usual.shift)
    pixels = DATA.images("b", 5, np.arange(50)).float() / 255
    for batch in Stream(DATA, made, 20):
        rows = slice(batch.start, batch.stop)
        shifts = [tuple(shift) for shift in made.shift[rows, :2].tolist()]
        numbers = made.index[rows].tolist()
        expected = [pixels[i].roll(by, (1, 2)) for i, by in zip(numbers, shifts, strict=True)]
        assert torch.equal(batch.images, torch.stack(expected))
    right = np.zeros(len(made), int)
    assert translation_figures(made, right) == {"copies": 200, "consistency": 1}
    assert translation_figures(usual, right) == translation_figures(made, right)


def test_images_may_be_turned_by_more_than_a_side():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    steps = torch.tensor([4]), torch.tensor([-5]), torch.tensor([1])
    assert torch.equal(moved(image, *steps), image.roll((1, -1), (2, 3)))
    made = plan(translate_by=33, translate_edges="wrap", num_samples=4)
    assert len(next(iter(Stream(DATA, made, 20))).images)


def test_a_consistent_method_is_consistent_under_cyclic_shifts(tmp_path):
    options = {**RUN, "scenario": "translations", "output": str(tmp_path)}
    given = {"translate_edges": "wrap", "set": {"sides": "joined"}}
    summary = run(RunConfig(method="crop_selection", **given, **options))
    assert summary["translations"]["consistency"] == 1


def test_a_moved_image_repeats_its_edge():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    found = moved(image, torch.tensor([1]), torch.tensor([-2]))
    assert found[0, 0].tolist() == [[2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7]]


def test_a_stream_shows_and_decodes_images_as_they_were_moved():
    made = plan(domains=("b",))
    stream = Stream(DATA, made, 20)
    pixels = DATA.images("b", 5, np.arange(50)).float() / 255
    for batch in stream:
        rows = slice(batch.start, batch.stop)
        down, right = torch.from_numpy(made.shift[rows].T)
        expected = moved(pixels[torch.from_numpy(made.index[rows])], down, right)
        assert torch.equal(batch.images, expected)
        assert torch.equal(torch.stack(stream.decoded()).float() / 255, expected)
        assert torch.equal(stream.images(np.arange(batch.start, batch.stop)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_moved_before_they_are_resized(tmp_path, workers):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for number, size in enumerate(((60, 45), (50, 64))):
            pixels = rng.integers(0, 256, (*size, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    data = open_dataset(f"folder:{tmp_path}")
    data.image_size = (32, 32)
    data.resizing = dataclasses.replace(data.resizing, crop=0.8)
    made = plan_stream("translations", data, ScenarioOptions(batch_size=3, translate_by=2))
    (shown,) = [torch.cat([b.images for b in Stream(data, made, 3, workers=workers)])]
    wanted = []
    for domain, index, shift in zip(made.domain, made.index, made.shift, strict=True):
        whole = data.original(made.domains[domain], 0, index)
        there = moved(whole[None], *torch.from_numpy(shift)[:, None])[0]
        image = data.resizing(Image.fromarray(there.permute(1, 2, 0).numpy()), (32, 32))
        wanted.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert torch.equal((shown * 255).round(), torch.stack(wanted).float())


def test_agreement_is_with_the_same_image_unmoved_at_the_same_visit():
    made = dataclasses.replace(
        plan(),
        **{name: np.zeros(7, int) for name in ("domain", "severity", "segment")},
        visit=np.array([0, 0, 0, 0, 0, 1, 1]),
        index=np.array([4, 9, 4, 9, 4, 4, 4]),
        shift=np.array([(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 0), (0, 0)]),
        reset_before=np.zeros(7, bool),
    )
    classes = np.array([2, 3, 2, 1, np.nan, 5, 5])
    expected = [np.nan, np.nan, 1, 0, 0, 1, np.nan]
    np.testing.assert_array_equal(agreements(made, classes), expected)
    assert translation_figures(made, classes) == {"copies": 4, "consistency": 0.5}
    np.testing.assert_array_equal(agreements(made, classes[:6])[5], np.nan)
    assert translation_figures(made, classes[:2]) == {"copies": 0, "consistency": None}


def test_an_image_without_a_class_is_like_no_copy():
    made = plan(domains=("a",), num_samples=1)
    assert translation_figures(made, np.full(5, np.nan))["consistency"] == 0
    assert translation_figures(made, np.zeros(5))["consistency"] == 1


def test_a_run_tells_how_often_copies_keep_their_class(tmp_path, capsys):
    options = {**RUN, "scenario": "translations", "output": str(tmp_path)}
    for method in ("source", "tent"):
        summary = run(RunConfig(method=method, **options))
    folder = Path(summary["path"])
    assert summary["translations"]["copies"] == 4 * 80
    found = summary["translations"]["consistency"]
    assert 0.5 < found <= 1
    domains = pd.read_csv(folder / "domains.csv")
    assert domains["samples"].tolist() == [200, 200]
    assert domains["consistency"].mean() == pytest.approx(found)
    assert f"translations: {100 * found:.2f} % of 320 moved copies" in run_report(summary, "error")
    assert compare([str(tmp_path), "--tables", "protocol"]) == 0
    shown = capsys.readouterr().out
    assert "consistency %" in shown and f"{100 * found:.2f}" in shown
    assert json.loads((folder / "summary.json").read_text())["translations"]["copies"] == 320
    usual = run(RunConfig(**{**options, "scenario": "continual"}))
    assert "translations" not in usual


def test_the_share_is_that_of_the_predictions(tmp_path):
    options = {**RUN, "domains": ("fog",), "scenario": "translations", "output": str(tmp_path)}
    summary = run(RunConfig(method="source", **options))
    made = build(RunConfig(method="source", **options))
    classes = [made.backbone(batch.images).argmax(1) for batch in made.stream]
    by_batch = [classes[first : first + 5] for first in range(0, len(classes), 5)]
    same = [copy == batch[0] for batch in by_batch for copy in batch[1:]]
    expected = torch.cat(same).float().mean().item()
    assert summary["translations"]["consistency"] == pytest.approx(expected)


def test_a_stopped_run_goes_on_to_the_same_share(tmp_path, monkeypatch):
    options = {"method": "tent", "scenario": "translations"}
    expected = run(config(tmp_path / "whole", **options))
    killed = config(tmp_path / "killed", **options)
    run_killed(monkeypatch, killed, 4)
    summary = resumed(killed)
    assert records(summary) == records(expected)
    assert summary["translations"] == expected["translations"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unknown": "letters"}, "not for --unknown"),
        ({"adapt_samples": 5}, "not for --adapt-samples"),
        ({"dataset": "digits-seg", "domains": None}, "not for data that is segmented"),
    ],
)
def test_what_copies_mean_nothing_for_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        build(RunConfig(**{**RUN, "scenario": "translations", **options}))


def test_too_many_copies_are_refused(monkeypatch):
    monkeypatch.setattr("tta.streams.sizes.MOST_SAMPLES", 700)
    with pytest.raises(UserError, match="fewer --num-samples or --domains"):
        plan()
    plan(num_samples=40)


def test_copies_of_which_nothing_is_left_are_refused(tmp_path):
    with pytest.raises(UserError, match="by 32 pixels, which leaves nothing of images of 32 x 32"):
        run(config(tmp_path, method="source", scenario="translations", translate_by=32))


def test_turning_images_all_the_way_round_is_refused():
    made = plan(translate_by=32, translate_edges="wrap", num_samples=4)
    with pytest.raises(UserError, match="are the images themselves: pass another --translate-by"):
        list(Stream(DATA, made, 20))
