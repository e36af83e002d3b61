import pytest

from tta.methods import find_method
from tta.methods.params import build_params
from tta.presets import load_preset, preset_names

ENTRIES = [(name, method) for name in preset_names() for method in load_preset(name)]


@pytest.mark.parametrize(("name", "method"), ENTRIES)
def test_every_entry_names_a_method_its_parameters_and_its_source(name, method):
    entry = load_preset(name)[method]
    assert set(entry) == {"source", "params"}
    assert entry["source"]
    build_params(find_method(method).Params, entry["params"], method)
