"""Names of classes, matched to names of outputs."""

import pytest

from tta.foundation.errors import UserError
from tta.tasks.classes.lists import IMAGENET_LISTS, imagenet_names, own_names
from tta.tasks.classes.matching import DataClasses, map_classes
from tta.tasks.classes.order import in_order
from tta.tasks.classes.outputs import OutputNames

ANIMALS = OutputNames(("zebra", "Sea Lion", "ant", "sea-lion cub"), "animals.txt")


def test_only_the_classes_there_are_are_kept_in_the_order_of_the_outputs():
    found = map_classes(DataClasses(("ant", "zebra")), 4, ANIMALS)
    assert found.names == ("zebra", "ant")
    assert found.outputs == (0, 2)
    assert found.how == (
        "2 class folders matched to 2 of 4 outputs by name (animals.txt); logits limited to these"
    )


def test_a_spelling_may_differ_where_one_output_alone_is_meant():
    found = map_classes(DataClasses(("SEA_LION", "sea_lion_cub", "ant", "zebra")), 4, ANIMALS)
    assert found.names == ("zebra", "SEA_LION", "ant", "sea_lion_cub")
    assert "2 by name, 2 by name but for case, spaces and underscores" in found.how
    twins = OutputNames(("sea lion", "Sea_Lion", "ant"), "twins.txt")
    assert map_classes(DataClasses(("sea lion", "ant")), 3, twins).outputs == (0, 2)
    with pytest.raises(UserError, match=r"sea-lion \(outputs 0 or 1\)"):
        map_classes(DataClasses(("sea-lion", "ant")), 3, twins, sure=True)


def test_two_folders_of_one_class_are_refused():
    with pytest.raises(UserError, match="'ant' and 'Ant' are both output 2"):
        map_classes(DataClasses(("ant", "Ant")), 4, ANIMALS)


def test_an_unknown_folder_is_refused_by_name_unless_it_is_empty():
    folders = ("ant", "zebra", "misc")
    with pytest.raises(UserError, match="1 of 3 class folders are not matched .*: 'misc'"):
        map_classes(DataClasses(folders), 4, ANIMALS)
    found = map_classes(DataClasses(folders, {"misc", "ant"}), 4, ANIMALS)
    assert found.outputs == (0, 2)
    assert "left out, as they hold no image: 'misc'" in found.how
    assert "without images: 'ant'" in found.how


@pytest.mark.parametrize("outputs", [1000, 1001, 21_841, 21_842, 21_843])
def test_wnids_are_found_in_the_list_of_every_imagenet_model(outputs):
    known = imagenet_names(outputs)
    wnids = ("n01443537", "n01440764", "n02123045")  # goldfish, tench, tabby
    found = map_classes(DataClasses(wnids), outputs, known)
    assert len(known.names) == outputs
    assert [known.names[output] for output in found.outputs] == list(found.names)
    assert set(found.names) == set(wnids)
    if outputs in (1000, 1001):
        assert found.outputs == tuple(outputs - 1000 + place for place in (0, 1, 281))
        assert found.names == ("n01440764", "n01443537", "n02123045")


def test_other_numbers_of_outputs_have_no_list():
    assert imagenet_names(999) is None
    assert imagenet_names(1000, IMAGENET_LISTS["@imagenet-21k"]) is None


def test_lemmas_are_found_where_they_are_of_one_wnid():
    known = imagenet_names(1000)
    found = map_classes(DataClasses(("great_white_shark", "Tench")), 1000, known)
    assert found.outputs == (0, 2)
    assert "by first lemma of the wnid" in found.how
    with pytest.raises(UserError, match=r"crane \(outputs 134 or 517\)"):
        map_classes(DataClasses(("crane", "tench")), 1000, known)


def test_most_names_known_but_not_all_is_no_matter_of_order():
    names = [f"n{number}" for number in range(400)] + list(imagenet_names(1000).names[:600])
    with pytest.raises(UserError, match="400 of 1,000 class folders are not matched"):
        map_classes(DataClasses(tuple(names)), 1000, imagenet_names(1000))
    own = tuple(f"{number:04}" for number in range(1000))
    found = map_classes(DataClasses(own), 1000, imagenet_names(1000))
    assert (found.outputs, found.by_name) == (tuple(range(1000)), False)


def test_unequal_counts_are_refused_with_the_cure():
    with pytest.raises(UserError, match="has 2 class folders .* the model 3 outputs.*--classes"):
        map_classes(DataClasses(("a", "b")), 3, None)


def test_an_order_in_doubt_is_refused_and_either_can_be_chosen():
    folders = DataClasses(tuple(map(str, range(12))))
    with pytest.raises(
        UserError, match="'10'.* or by number .class 2 is '2'.*--class-order sorted"
    ):
        map_classes(folders, 12, None)
    by_text = map_classes(folders, 12, None, order="sorted")
    assert by_text.names == ("0", "1", "10", "11", *map(str, range(2, 10)))
    assert map_classes(folders, 12, None, order="natural").names == tuple(map(str, range(12)))


def test_orders_that_agree_leave_no_doubt():
    assert in_order(["b2", "a10"], None) == ["a10", "b2"]
    assert in_order(["10", "01", "02"], None) == ["01", "02", "10"]
    assert in_order(["a10", "a9", "a9b"], "natural") == ["a9", "a9b", "a10"]


@pytest.mark.parametrize("given", [["cat", "dog"], {0: "cat", 1: "dog"}, {"1": "dog", "0": "cat"}])
def test_label_names_of_a_model_are_its_own(given):
    known = own_names(2, given)
    assert known.names == ("cat", "dog")
    with pytest.raises(UserError, match="not matched"):
        map_classes(DataClasses(("a", "b")), 2, known, sure=True)
    assert map_classes(DataClasses(("a", "b")), 2, known, order="sorted").outputs == (0, 1)


def test_label_names_of_another_classifier_are_passed_over():
    assert own_names(3, ["cat", "dog"]) is None
    assert own_names(2, {5: "cat"}) is None
    assert own_names(2, {"zero": "cat", "-1": "dog"}) is None
    assert own_names(2, {}) is None
    assert own_names(3, {2: "cat"}).names == (None, None, "cat")
