"""Warnings are muted by kind, without exchanging the filters of the process."""

import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from tta.datasets.images import DECODERS, check_image, read_image
from tta.foundation.muted import mute


@pytest.fixture(autouse=True)
def all_filters_as_before():
    with warnings.catch_warnings():
        yield


def test_a_kind_is_muted_once_and_before_what_would_show_it():
    warnings.simplefilter("error")
    mute("of this")
    held = list(warnings.filters)
    mute("of this")
    assert warnings.filters == held
    warnings.warn("Of this kind", stacklevel=1)
    with pytest.raises(UserWarning, match="another"):
        warnings.warn("another kind", stacklevel=1)
    warnings.simplefilter("error")
    mute("of this")
    warnings.warn("of this kind", stacklevel=1)


@pytest.fixture
def odd_image(tmp_path):
    """A picture whose transparency Pillow warns of."""
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8), "L").convert("P")
    image.save(tmp_path / "odd.png", transparency=bytes(range(256)))
    return tmp_path / "odd.png"


def test_decoding_warns_of_nothing_and_exchanges_no_filters(odd_image):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Image.open(odd_image) as image:
            image.convert("RGB")
        assert any("Palette images" in str(one.message) for one in said)  # to see that it does
        del said[:]
        read_image(odd_image, published=True)
        check_image(odd_image, header=True)
        assert not said


def test_decoding_in_a_thread_leaves_filters_that_another_exchanges(odd_image, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr("tta.datasets.images.is_torn", lambda _: begun.set() or not go_on.wait(10))
    thread = threading.Thread(target=read_image, args=(odd_image,))
    mute(module=DECODERS)
    before = list(warnings.filters)
    thread.start()
    assert begun.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go_on.set()
        thread.join()
    assert warnings.filters == before
