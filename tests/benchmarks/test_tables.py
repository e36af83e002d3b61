"""The tables of results/, before anything is run."""

import json

from benchmarks.comparisons.files import HEADINGS, TABLES
from benchmarks.parity import SUBJECTS, config
from tta.methods import METHODS
from tta.methods.params import build_params

ROWS = [(table, cell) for tables in TABLES.values() for table in tables for cell in table.cells("")]


def test_every_row_is_a_run_that_can_be_configured():
    assert HEADINGS.keys() == TABLES.keys()
    for table, cell in ROWS:
        build_params(METHODS[cell.config.method].Params, cell.config.set, cell.config.method)
        assert cell.config.seed in table.seeds


def test_every_method_has_a_row():
    # Several source domains, a robust model and files of weights need tables of their own.
    of_their_own = {"drm", "adaptive_smoothing", "rws", "atlas"}
    assert {cell.config.method for _, cell in ROWS} == set(METHODS) - of_their_own


def test_runs_of_one_file_are_told_apart():
    for tables in TABLES.values():
        cells = [cell for table in tables for cell in table.cells("")]
        assert len({cell.name for cell in cells}) == len(cells)
        configs = {json.dumps(cell.config.to_mapping(), sort_keys=True) for cell in cells}
        assert len(configs) == len(cells)


def test_parity_takes_the_hyper_parameters_that_methods_have():
    for subject in SUBJECTS.values():
        for seed in subject.seeds:
            assert config(subject, seed, "assets", "cpu").seed == seed
        build_params(METHODS[subject.method].Params, subject.params, subject.method)
