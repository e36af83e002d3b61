"""Figures, ties and protocols of compared runs."""

import pandas as pd
import pytest

from tests.reporting.fake_runs import DOMAINS, seal, write_run
from tta.experiment.figures import classes_digest
from tta.foundation.errors import UserError
from tta.reporting.comparing.comparison import compare
from tta.reporting.comparing.comparison_tables import MISSING, cost_table, error_table
from tta.reporting.records.finding import find_runs


@pytest.fixture
def compared(tmp_path):
    def made(baseline=None, split=False):
        return compare(find_runs([tmp_path])[0], baseline, split)

    return made


def test_figures_over_seeds(tmp_path, compared):
    for seed in (1, 2, 3):
        write_run(tmp_path, "bn", skill=1.0, seed=seed)
        write_run(tmp_path, "source", skill=0.3, seed=seed)
    (comparison,) = compared("source")
    assert [row.label for row in comparison.rows] == ["bn", "source"]
    means = comparison.rows[0].means
    figures = comparison.figures.loc["bn"]
    assert figures["mean"] == pytest.approx(means.mean())
    assert figures["std"] == pytest.approx(means.std(ddof=1))
    assert figures["seeds"] == 3
    assert figures["rank"] == 1.0
    assert figures["difference"] < 0
    assert figures["source_ratio"] == 1.0
    assert figures["forwards"] == 1.0
    assert comparison.tests.loc["bn", "difference"] == pytest.approx(figures["difference"])
    assert comparison.protocol["seeds"] == "1, 2, 3"


def test_ranks_are_means_over_domains(tmp_path, compared):
    write_run(tmp_path, "bn", skill=1.0)
    write_run(tmp_path, "tent", skill=1.2)
    (comparison,) = compared()
    expected = comparison.errors.rank().mean(axis=1)
    pd.testing.assert_series_equal(comparison.figures["rank"], expected, check_names=False)


def test_best_and_what_is_tied_with_it(tmp_path, compared):
    for method, skill in {"rmt": 1.5, "tent": 1.49, "source": 0.2}.items():
        write_run(tmp_path, method, skill=skill)
    (comparison,) = compared()
    assert comparison.best["mean"].to_dict() == {"rmt": True, "tent": True, "source": False}
    assert comparison.best.loc["rmt"].any()
    assert comparison.tests["p_mcnemar"].loc["source"] < 1e-6
    assert comparison.tests["p_bootstrap"].loc["source"] < 1e-3


def test_without_samples_and_with_few_domains_nothing_is_claimed(tmp_path, compared):
    for method, skill in {"rmt": 1.5, "source": 0.2}.items():
        write_run(tmp_path, method, skill=skill, domains=("a", "b"), samples=False)
    (comparison,) = compared()
    assert comparison.tests[["p_mcnemar", "p_bootstrap"]].isna().all(axis=None)
    assert comparison.best["mean"].tolist() == [True, False]


def test_a_diverged_method_has_no_calibration(tmp_path, compared):
    for seed in (1, 2):
        write_run(tmp_path, "bn", seed=seed)
        write_run(tmp_path, "tent", seed=seed, diverged=seed == 2)
    (comparison,) = compared()
    figures = comparison.figures[
        ["mean", "mean_ece", "pooled_ece", "mean_nll", "mean_brier"]
    ].notna()
    assert figures.loc["bn"].all()
    tent = "tent (outputs not finite in 1 of 2 runs, from batch 17)"
    assert figures.loc[tent].tolist() == [True, False, False, False, False]
    columns = ["mean ECE %", "pooled ECE %", "NLL", "Brier"]
    assert cost_table(comparison).cells.loc[tent, columns].tolist() == [MISSING] * 4


def test_unlike_protocols_are_refused_and_named(tmp_path, compared):
    write_run(tmp_path, "bn")
    write_run(tmp_path, "tent", batch_size=20)
    write_run(tmp_path, "source", weights_sha256="v" * 64)
    with pytest.raises(UserError, match="differ in ") as refusal:
        compared()
    assert "weights sha256 (wwwwwwwwwwww or vvvvvvvvvvvv), batch size (10 or 20);" in str(
        refusal.value
    )
    assert len(compared(split=True)) == 3
    write_run(tmp_path, "cotta", data_digest="e" * 64)
    with pytest.raises(
        UserError, match="in images, labels or classes .(d{12} or e{12}|e{12} or d)"
    ):
        compared()


def test_runs_on_other_outputs_of_a_model_are_of_another_protocol(tmp_path, compared):
    """Same data, labels and weights, but another ``--classes``."""
    write_run(tmp_path, "bn")  # as before there was such a record: all outputs, in order
    write_run(tmp_path, "tent", classes_digest=None)
    assert len(compared()) == 1
    write_run(tmp_path, "source", classes_digest=classes_digest([1, 0]))
    with pytest.raises(UserError, match=r"differ in classes digest \(none or [0-9a-f]{12}\);"):
        compared()
    assert [len(part.rows) for part in compared(split=True)] == [2, 1]
    assert classes_digest([1, 0]) != classes_digest([10]) != classes_digest([0, 1])


def test_seeds_on_other_source_images_are_no_seeds_of_one_row(tmp_path, compared):
    """A path that held other images, or other weights of the cloud, when the seeds ran."""
    for seed in (1, 2):
        write_run(tmp_path, "rmt", seed=seed, source_digest=f"{seed}" * 64)
        write_run(tmp_path, "cema", seed=seed, cloud_weights_sha256=f"{seed}" * 64)
        write_run(tmp_path, "tent", seed=seed, source_digest=None)
    (comparison,) = compared()
    assert sorted(row.label for row in comparison.rows) == [
        "cema (cloud weights sha256 111111111111)",
        "cema (cloud weights sha256 222222222222)",
        "rmt (source digest 111111111111)",
        "rmt (source digest 222222222222)",
        "tent",
    ]


def test_tables_beside_each_other_say_what_tells_them_apart(tmp_path, compared):
    def shown_in(size, method):
        path = write_run(tmp_path, method, shown=size)
        with (path / "config.yaml").open("a") as file:
            file.write(f"input_size: [{size}, {size}]\n")
        seal(path)

    shown_in(32, "bn")
    assert "input size" not in compared()[0].protocol
    shown_in(48, "bn")
    shown_in(48, "tent")
    small, large = sorted(compared(split=True), key=lambda table: len(table.rows))
    assert (small.protocol["input size"], large.protocol["input size"]) == ("32,32", "48,48")
    with pytest.raises(UserError, match=r"differ in input size \((32,32|48,48) or "):
        compared()


def test_one_seed_with_two_streams_is_two_protocols(tmp_path, compared):
    write_run(tmp_path, "bn", images=20)
    write_run(tmp_path, "tent", images=40)
    with pytest.raises(UserError, match="stream digest"):
        compared()


def test_namesakes(tmp_path, compared):
    write_run(tmp_path, "tent", params={"lr": 0.1, "steps": 1})
    write_run(tmp_path, "tent", params={"lr": 0.2, "steps": 1})
    write_run(tmp_path, "bn", precision="fp32")
    write_run(tmp_path, "bn", precision="bf16")
    (comparison,) = compared()
    assert {row.label for row in comparison.rows} == {
        "tent (lr=0.1)",
        "tent (lr=0.2)",
        "bn (precision fp32)",
        "bn (precision bf16)",
    }


def test_two_runs_of_one_seed_stay_apart(tmp_path, compared):
    write_run(tmp_path, "bn", environment={"git_revision": "old"})
    write_run(tmp_path, "bn", environment={"git_revision": "new"})
    (comparison,) = compared()
    labels = [row.label for row in comparison.rows]
    assert len(set(labels)) == 2
    assert all(label.startswith("bn (seed 1, run ") for label in labels)


ENVIRONMENT = {"device": "cpu", "device_name": "x86_64", "threads": 1, "torch": "2.9"}


def test_seeds_of_unlike_code_and_packages_are_named(tmp_path, compared):
    for seed, code in ((1, "a"), (2, "b")):
        write_run(tmp_path, "bn", seed=seed, code_digest=code, environment=ENVIRONMENT)
        newer = ENVIRONMENT | {"torch": f"2.{seed}"}
        write_run(tmp_path, "tent", seed=seed, code_digest="a", environment=newer)
        write_run(tmp_path, "source", seed=seed, code_digest="a", environment=ENVIRONMENT)
    (comparison,) = compared()
    assert {row.label: row.unlike for row in comparison.rows} == {
        "bn": ["code"],
        "tent": ["torch"],
        "source": [],
    }
    for table in (error_table(comparison, "error"), cost_table(comparison)):
        assert "seeds were run with different code: bn" in table.notes
        assert "seeds were run with different torch: tent" in table.notes
    assert comparison.figures["source_ratio"].notna().all()


def test_records_without_a_digest_go_by_their_revision(tmp_path, compared):
    for seed, revision in ((1, "old"), (2, "new")):
        write_run(tmp_path, "bn", seed=seed, environment={"git_revision": revision})
        write_run(tmp_path, "tent", seed=seed, environment={})
    (comparison,) = compared()
    assert {row.label: row.unlike for row in comparison.rows} == {"bn": ["code"], "tent": []}


def test_time_and_memory_of_unlike_machines_are_not_averaged(tmp_path, compared):
    for seed in (1, 2):
        write_run(tmp_path, "source", seed=seed, environment=ENVIRONMENT)
        write_run(tmp_path, "bn", seed=seed, environment=ENVIRONMENT | {"threads": seed})
    (comparison,) = compared()
    names = ["ms_per_image", "source_ratio", "memory_mib", "extra_memory_mib"]
    assert comparison.figures.loc["bn", names].isna().all()
    assert comparison.figures.loc["source", "ms_per_image"] > 0
    assert comparison.figures.loc["bn", "forwards"] == 1.0
    expected = "seeds were run with different threads, so time and memory are not compared: bn"
    assert expected in cost_table(comparison).notes


def test_unfinished_runs_are_last_and_never_best(tmp_path, compared):
    write_run(tmp_path, "bn", skill=0.5)
    write_run(tmp_path, "tent", skill=3.0, finished=False)
    (comparison,) = compared()
    assert [row.label for row in comparison.rows] == ["bn", "tent (unfinished)"]
    assert comparison.best["mean"].tolist() == [True, False]
    assert pd.isna(comparison.figures.loc["tent (unfinished)", "rank"])


def test_baselines(tmp_path, compared):
    write_run(tmp_path, "bn", params={"a": 1})
    write_run(tmp_path, "bn", params={"a": 2})
    write_run(tmp_path, "source")
    assert compared("bn (a=1)")[0].baseline == "bn (a=1)"
    with pytest.raises(UserError, match="one of several rows"):
        compared("bn")
    with pytest.raises(UserError, match="did you mean 'source'"):
        compared("sauce")


def test_domain_ties_follow_mcnemar_by_domain(tmp_path, compared):
    write_run(tmp_path, "bn", skill=4.0, images=80)
    write_run(tmp_path, "source", skill=0.0, images=80)
    (comparison,) = compared()
    assert comparison.best.loc["bn", list(DOMAINS)].all()
    assert not comparison.best.loc["source", list(DOMAINS)].any()


def test_collapsed_runs_are_marked(tmp_path, compared):
    for seed, batch in ((1, None), (2, 7)):
        write_run(tmp_path, "bn", seed=seed)
        write_run(tmp_path, "tent", seed=seed, skill=0.0, collapsed_at_batch=batch)
    (comparison,) = compared()
    marked = "tent (collapsed in 1 of 2 runs, at batch 7)"
    assert [row.label for row in comparison.rows] == ["bn", marked]


def test_a_collapse_of_every_seed_at_once_is_named_once(tmp_path, compared):
    for seed in (1, 2):
        write_run(tmp_path, "tent", seed=seed, collapsed_at_batch=7)
    (comparison,) = compared()
    assert [row.label for row in comparison.rows] == ["tent (collapsed at batch 7)"]


def test_memory_over_the_source_is_what_the_runs_added(tmp_path, compared):
    for method, rise in (("source", 10), ("tent", 34)):
        cost = {"stream_seconds": 1.0, "peak_memory_bytes": 1, "memory_rise_bytes": rise * 2**20}
        write_run(tmp_path, method, cost=cost)
    (comparison,) = compared()
    assert comparison.figures["extra_memory_mib"].to_dict() == {"source": 0.0, "tent": 24.0}
