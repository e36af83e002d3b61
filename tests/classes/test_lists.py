"""Files of class names, and the words for timm's lists."""

import pytest

from tta.foundation.errors import UserError
from tta.tasks.classes.lists import check_choice, chosen_names, read_class_names


@pytest.fixture
def written(tmp_path):
    def write(content: bytes) -> str:
        (tmp_path / "names.txt").write_bytes(content)
        return str(tmp_path / "names.txt")

    return write


@pytest.mark.parametrize(
    "content",
    [
        b"cat\nsea lion\n",
        b"\xef\xbb\xbfcat\r\nsea lion\r\n\r\n\n",
        b"cat \n sea lion",
        b"cat\rsea lion",
    ],
)
def test_a_line_is_a_name(written, content):
    assert read_class_names(written(content)) == ("cat", "sea lion")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; write one class name per line"),
        (b"\n \n", "is empty"),
        (b"cat\n\ndog\n", "line 2 of .* is blank"),
        (b"cat\ndog\ncat\n", "lines 1 and 3 of .* are both 'cat'"),
        ("cat\ndog".encode("utf-16"), "is no UTF-8 text"),
        ("cat\ndog".encode("utf-16-le"), "is no UTF-8 text"),
        (b"caf\xe9\n", "is no UTF-8 text"),
    ],
)
def test_files_that_are_no_list_of_names(written, content, message):
    with pytest.raises(UserError, match=message):
        check_choice(written(content))


def test_a_file_must_name_every_output(written):
    path = written(b"cat\ndog\n")
    assert chosen_names(path, 2, "net").names == ("cat", "dog")
    with pytest.raises(UserError, match="has 2 names, but backbone 'net' has 3 outputs"):
        chosen_names(path, 3, "net")


def test_a_line_may_hold_a_wnid_and_words(written):
    names = chosen_names(written(b"n01443537 goldfish, Carassius auratus\nn01440764 tench"), 2, "n")
    assert names.exact["n01440764"] == (1, "wnid")
    assert [output for output, _ in names.near("Goldfish")] == [0]


def test_a_file_of_wnids_knows_their_lemmas(written):
    names = chosen_names(written(b"n01443537\nn01440764\n"), 2, "net")
    assert [output for output, _ in names.near("tench")] == [1]


@pytest.mark.parametrize(
    ("choice", "outputs", "first"),
    [
        ("@imagenet", 1000, "n01440764"),
        ("@imagenet", 1001, None),
        ("@imagenet", 21_843, "n00004475"),
        ("@imagenet-12k", 11_821, "n00005787"),
        ("@imagenet-21k", 21_841, "n00004475"),
        ("@imagenet-21k", 21_842, "n01440764"),
        ("@imagenet-21k", 11_221, "n00005787"),
        ("@numbers", 3, "0"),
    ],
)
def test_words_for_lists(choice, outputs, first):
    names = chosen_names(choice, outputs, "net").names
    assert (len(names), names[0]) == (outputs, first)


def test_a_list_of_another_length_is_refused():
    with pytest.raises(UserError, match="no list of 1,000 names, which are the outputs"):
        chosen_names("@imagenet-21k", 1000, "net")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("@imagnet", "did you mean '@imagenet'"),
        ("none.txt", "cannot be read .*; name a text file with one class name per line"),
        (".", "cannot be read"),
    ],
)
def test_choices_that_there_are_not(choice, message):
    with pytest.raises(UserError, match=message):
        check_choice(choice)
