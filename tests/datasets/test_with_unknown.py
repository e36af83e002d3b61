"""Unknown images beside known ones: where they come from, and how they are shown."""

import pickle

import numpy as np
import pytest
import torch

from tests.fakes import RandomImages
from tta.corruptions import corrupt
from tta.datasets import open_dataset
from tta.datasets.resizing import AS_THEY_ARE
from tta.datasets.with_unknown import FIRST_ID, WithUnknown
from tta.foundation.errors import UserError


def beside(known, unknown, domains=None):
    known.image_size, known.resizing = (32, 32), AS_THEY_ARE
    both = WithUnknown(known, unknown, domains or known.domains)
    both.fit_unknown()
    return both


def arrays(path, size=8, labels=(0, 1, 0, 1)):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), size, size, 3), np.uint8)
    np.savez(path, images=images, labels=np.array(labels))
    return f"arrays:{path}"


def test_images_are_corrupted_alike_where_the_known_ones_are_made():
    digits, letters = open_dataset("digits-c"), open_dataset("letters")
    both = beside(digits, letters)
    assert both.way == "corrupted alike" and both.counts("fog", 5) == (897, 900)
    assert both.labels("fog", 5).tolist() == [*digits.labels("fog", 5), *[-1] * 900]
    rows = np.array([899, 3, 1000])
    images = both.shown("fog", 3, rows)
    assert torch.equal(images[1:2], digits.images("fog", 3, rows[1:2]))
    clean = letters.images("clean", 0, np.array([2, 103]))
    expected = corrupt(clean, "fog", 3, ids=FIRST_ID + np.array([2, 103]))
    assert torch.equal(images[[0, 2]], expected)
    assert both.encoded_bytes("fog", 3, rows)[1] == digits.encoded_bytes("fog", 3, rows[1:2])
    assert torch.equal(pickle.loads(pickle.dumps(both)).shown("fog", 3, rows), images)


def test_domains_of_the_same_names_are_taken():
    known, unknown = RandomImages(6), RandomImages(4, ("c", "a"))
    both = beside(known, unknown, ("a", "c"))
    assert both.way == "same domains"
    assert torch.equal(both.shown("a", 2, np.array([6])), unknown.images("a", 2, np.array([0])))
    assert beside(known, unknown).way == "as they are"  # there is no b


def test_others_are_shown_as_they_are_in_the_size_of_the_known_ones(tmp_path):
    both = beside(RandomImages(6), open_dataset(arrays(tmp_path / "small.npz")))
    assert both.way == "as they are"
    images = both.shown("a", 5, np.arange(10))
    assert images.shape == (10, 3, 32, 32)
    assert torch.equal(images[6:], both.shown("b", 1, np.arange(6, 10)))
    assert both.understood()["unknown"] == (
        "4 images of 'arrays:small.npz', as they are, in every domain the same, resized to 32x32"
    )
    assert both.provenance["unknown_way"] == "as they are"


def test_digests_follow_both_parts(tmp_path):
    first, second = (arrays(tmp_path / f"{size}.npz", size) for size in (8, 9))
    digests = {beside(RandomImages(6), open_dataset(name)).digest() for name in (first, second)}
    digests |= {beside(RandomImages(7), open_dataset(first)).digest()}
    assert len(digests) == 3


def test_what_numbers_classes_reaches_the_known_part():
    both = beside(open_dataset("digits-c"), open_dataset("letters"))
    both.class_subset = (1, 2)
    assert both.known.class_subset == (1, 2) and both.num_classes == 10
    assert both.name == "digits-c+letters" and both.sizing == both.known.sizing


def test_a_stream_in_an_order_of_its_own_is_refused():
    known = RandomImages(6)
    known.in_order = True
    with pytest.raises(UserError, match="an order of its own.*leave --unknown out"):
        WithUnknown(known, RandomImages(6), known.domains)


def test_letters_are_the_same_at_every_call_and_as_bright_as_digits():
    letters, digits = open_dataset("letters"), open_dataset("digits")
    images = letters.images("clean", 0, np.arange(900)).float()
    assert images.shape == (900, 3, 32, 32)
    assert np.bincount(letters.labels("clean", 0)).tolist() == [75] * 12
    scans = digits.images("clean", 0, np.arange(900)).float()
    assert abs(images.mean() - scans.mean()) < 8 and abs(images.std() - scans.std()) < 8
