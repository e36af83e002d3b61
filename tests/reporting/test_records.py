"""Records read back, whole and broken."""

import json

import numpy as np
import pytest

from tests.reporting.fake_runs import edit_summary, seal, write_run
from tta.foundation.errors import UserError
from tta.reporting.records.finding import find_runs
from tta.reporting.records.runs import Run


def test_a_record_is_read_back(tmp_path):
    run = Run.load(write_run(tmp_path))
    assert run.batches()["size"].sum() == run.summary["samples"]
    samples = run.samples()
    assert 1 - samples.correct.mean() == pytest.approx(run.summary["pooled_error"])
    assert run.domain_errors().mean() == pytest.approx(run.summary["mean_error"])


def test_what_is_not_a_number_is_null(tmp_path):
    path = write_run(tmp_path, diverged=True)
    assert "NaN" not in (path / "summary.json").read_text()
    summary = Run.load(path).summary
    for name in ("ece", "nll", "brier"):
        assert summary[f"mean_{name}"] is None
        assert [domain[name] is None for domain in summary["domains"]] == [False] * 4 + [True] * 4
    assert summary["mean_error"] > 0.5
    edit_summary(path, mean_nll="0.1")
    with pytest.raises(UserError, match="'mean_nll' is missing or wrong"):
        Run.load(path)


def test_foreign_files_are_passed_over(tmp_path):
    write_run(tmp_path)
    for name, text in {"a": "[1, 2]", "b": '{"loss": 3}'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(text)
    (tmp_path / "notes.txt").write_text("mine")
    runs, left_out = find_runs([tmp_path])
    assert len(runs) == 1
    assert not left_out


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ('{"schema": 1, "method"', "is damaged"),
        ('{"schema": 99}', "update this one"),
        ('{"schema": 1}', "'mean_error' is missing"),
        ('{"schema": 1}', "'mean_nll' is missing"),
        (b"\xff\xfe\x00", "is damaged"),
    ],
)
def test_broken_summaries_are_named(tmp_path, spoil, reason):
    write_run(tmp_path, "bn")
    bad = write_run(tmp_path, "tent")
    (bad / "summary.json").write_bytes(spoil if isinstance(spoil, bytes) else spoil.encode())
    runs, left_out = find_runs([tmp_path])
    assert [run.summary["method"] for run in runs] == ["bn"]
    assert reason in left_out[0]
    with pytest.raises(UserError, match=reason):
        find_runs([bad])


def test_domains_of_the_wrong_shape(tmp_path):
    path = write_run(tmp_path)
    edit_summary(path, domains=[{"domain": "a", "error": "0.1"}])
    with pytest.raises(UserError, match="'domains' is missing or wrong"):
        Run.load(path)


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_truncated_batches(tmp_path, keep):
    path = write_run(tmp_path)
    text = (path / "batches.csv").read_bytes()
    (path / "batches.csv").write_bytes(text[: int(keep * len(text))])
    with pytest.raises(UserError, match="cut short|cannot be read"):
        Run.load(path).batches()


def test_truncated_or_unfitting_samples(tmp_path):
    path = write_run(tmp_path)
    content = (path / "samples.npz").read_bytes()
    (path / "samples.npz").write_bytes(content[:200])
    with pytest.raises(UserError, match="is damaged"):
        Run.load(path).samples()
    (path / "samples.npz").write_bytes(content)
    other = write_run(tmp_path / "other", images=20)
    (path / "samples.npz").write_bytes((other / "samples.npz").read_bytes())
    with pytest.raises(UserError, match="does not fit"):
        Run.load(path).samples()
    edit_summary(path, samples=7)
    with pytest.raises(UserError, match="'samples' does not follow from 'domains'"):
        Run.load(path)


def test_pickled_samples_are_not_loaded(tmp_path):
    path = write_run(tmp_path)
    names = ("correct", "confidence", "visit")
    np.savez(path / "samples.npz", **dict.fromkeys(names, np.array([{}], object)))
    with pytest.raises(UserError, match="is damaged"):
        Run.load(path).samples()


def test_records_without_samples_and_options(tmp_path):
    path = write_run(tmp_path, samples=False)
    (path / "config.yaml").unlink()
    seal(path)
    run = Run.load(path)
    assert run.samples() is None
    assert run.config == {}
    (path / "config.yaml").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        Run.load(path)


def test_no_run_at_all(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        find_runs([tmp_path])
    (tmp_path / "summary.json").write_text(json.dumps({"schema": 2}))
    with pytest.raises(UserError, match="schema 1"):
        find_runs([tmp_path])
