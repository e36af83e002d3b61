import pytest

from tta.foundation.unlike import distinct, unlike


def test_names_come_in_order_of_appearance_with_every_value():
    mappings = [
        {"b": 1, "a": 1, "same": 2},
        {"a": 2, "same": 2},
        {"c": 3, "b": 1, "a": 1, "same": 2},
    ]
    found = unlike(mappings)
    assert found == {"b": [1, None, 1], "a": [1, 2, 1], "c": [None, None, 3]}
    assert list(found) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ((1, 2), [1, 2], False),
        (None, None, False),
        (float("nan"), float("nan"), False),
        (1, 1.0, True),
        (1, True, True),
        (1, "1", True),
        ([1, 2], [2, 1], True),
        ({(1, 2): 3}, {}, False),  # no plain value; and no error, whatever a damaged file holds
    ],
)
def test_values_count_as_the_same_where_they_are_written_the_same(one, other, differ):
    assert bool(unlike([{"a": one}, {"a": other}])) is differ


def test_a_missing_name_is_none():
    assert unlike([{}, {"a": None}]) == {}


def test_nothing_differs_from_nothing():
    assert unlike([]) == unlike([{"a": 1}]) == {}


def test_distinct_values_come_in_order_of_appearance():
    assert distinct([3, [1], 3, (1,), 2]) == [3, [1], 2]
