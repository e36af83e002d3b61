"""Images of one's own, of every kind: the right pixels, or one line with the name of the file."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.datasets.odd_images import (
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    chunk,
    clear,
    grey_tiff,
    png,
    png16,
)
from tta.datasets.headers import headers_of, sizes_of, survey
from tta.datasets.images import check_image, read_image
from tta.foundation.errors import UserError


def rows(file, published=False):
    """Return the pixels of a file, row by row."""
    return read_image(file, published=published).permute(1, 2, 0).numpy().tolist()


def said(files):
    """Return what a run says of files of one's own."""
    return survey(headers_of(files, "replace it"))


def saved(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def written(tmp_path, content, name="odd.png"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


DEEP = np.array([[0, 255, 256, 32768, 65535]], np.uint16)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("published", [False, True])
def test_16_bits_are_scaled(suffix, published, tmp_path):
    file = saved(tmp_path, Image.fromarray(DEEP), f"deep.{suffix}")
    assert rows(file, published) == [[[value] * 3 for value in (0, 0, 1, 128, 255)]]
    assert said([file]) == "1 of 16 bits a channel, scaled to 8"


@pytest.mark.parametrize("factor", [256, 257])
def test_8_bits_widened_to_16_come_back(factor, tmp_path):
    values = np.arange(256, dtype=np.uint16)[None]
    file = saved(tmp_path, Image.fromarray(values * np.uint16(factor)), "wide.png")
    assert rows(file) == [[[value] * 3 for value in range(256)]]


@pytest.mark.parametrize(
    ("bits", "photometric", "pixels", "expected"),
    [
        (16, 1, DEEP.astype("<u2").tobytes(), [0, 0, 1, 128, 255]),
        (16, 0, DEEP.astype("<u2").tobytes(), [255, 255, 254, 127, 0]),
        (12, 1, bytes([0xFF, 0xF8, 0x00, 0x01, 0x00, 0x00]), [255, 128, 1, 0]),
        (8, 0, bytes([0, 255]), [255, 0]),
    ],
)
def test_tiff_of_every_depth_and_direction(bits, photometric, pixels, expected, tmp_path):
    content = grey_tiff(len(expected), bits, photometric, pixels)
    file = written(tmp_path, content, "grey.tif")
    assert rows(file) == [[[value] * 3 for value in expected]]


KINDS = {
    "colour": (png16(COLOUR, [[65535, 0, 32768]]), [255, 0, 128], [255, 0, 128]),
    "colour, alpha": (png16(COLOUR_ALPHA, [[65535, 0, 0, 32768]]), [255, 127, 127], [255, 0, 0]),
    "grey, alpha": (png16(GREY_ALPHA, [[0, 32768]]), [127] * 3, [0] * 3),
    "clear grey": (png16(GREY, [0x1234], clear(0x1234)), [255] * 3, [0x12] * 3),
    "near the clear grey": (png16(GREY, [0x1235], clear(0x1234)), [0x12] * 3, [0x12] * 3),
    "clear colour": (
        png16(COLOUR, [[65535, 0, 32768]], clear(65535, 0, 32768)),
        [255, 255, 255],
        [255, 0, 128],
    ),
    "clear grey of 8 bits": (png((1, 1), 8, GREY, b"\5", clear(5)), [255] * 3, [5] * 3),
    "clear colour of 8 bits": (
        png((1, 1), 8, COLOUR, b"\5\6\7", clear(5, 6, 7)),
        [255, 255, 255],
        [5, 6, 7],
    ),
    "one bit": (png((1, 1), 1, GREY, b"\x80"), [255] * 3, [255] * 3),
    "four bits": (png((1, 1), 4, GREY, b"\x30"), [51] * 3, [51] * 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_png_of_every_depth(kind, tmp_path):
    content, shown, published = KINDS[kind]
    file = written(tmp_path, content)
    assert rows(file) == [[shown]]
    assert rows(file, published=True) == [[published]]


def palette():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    return image


RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]


@pytest.mark.parametrize(
    ("name", "transparency", "expected"),
    [
        ("p.png", None, [RED, GREEN, BLUE]),
        ("p.gif", None, [RED, GREEN, BLUE]),
        ("p.png", 1, [RED, WHITE, BLUE]),
        ("p.gif", 1, [RED, WHITE, BLUE]),
        ("p.png", bytes([255, 0, 128]), [RED, WHITE, [127, 127, 255]]),
    ],
)
def test_palettes(name, transparency, expected, tmp_path):
    options = {} if transparency is None else {"transparency": transparency}
    file = saved(tmp_path, palette(), name, **options)
    assert rows(file) == [expected]
    assert rows(file, published=True) == [[RED, GREEN, BLUE]]
    expected = "" if transparency is None else "1 with transparency, shown over white"
    assert said([file]) == expected


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_alpha_is_shown_over_white(name, tmp_path):
    pixels = np.array([[[255, 0, 0, 128], [9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    file = saved(tmp_path, Image.fromarray(pixels), name, **options)
    assert rows(file) == [[[255, 127, 127], WHITE, [1, 2, 3]]]
    assert rows(file, published=True) == [[RED, [9, 9, 9], [1, 2, 3]]]


@pytest.mark.parametrize("name", ["c.tif", "c.jpg"])
def test_cmyk(name, tmp_path):
    for ink, expected in {(255, 0, 0, 0): [0, 255, 255], (0, 0, 0, 102): [153] * 3}.items():
        file = saved(tmp_path, Image.new("CMYK", (16, 16), ink), name)
        assert np.abs(np.array(rows(file)) - expected).max() <= 1
        assert said([file]) == "1 of CMYK, converted without a colour profile"


PICTURE = np.array([[[1] * 3, [2] * 3, [3] * 3], [[4] * 3, [5] * 3, [6] * 3]], np.uint8)
TURNED = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_orientation_is_applied_to_ones_own_files(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    file = saved(tmp_path, Image.fromarray(PICTURE), f"o.{suffix}", exif=exif, **options)
    assert np.array(rows(file))[..., 0].tolist() == TURNED[orientation]
    assert said([file]) == ("1 turned by their EXIF orientation" if orientation > 1 else "")
    if suffix != "tif":  # which Pillow turns itself, for everybody
        assert np.array(rows(file, published=True))[..., 0].tolist() == TURNED[1]


def test_orientation_of_a_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    halves = Image.new("RGB", (32, 16), "white")
    halves.paste("black", (0, 0, 16, 16))
    file = saved(tmp_path, halves, "o.jpg", exif=exif)
    shown, published = np.array(rows(file)), np.array(rows(file, published=True))
    assert shown.shape == (32, 16, 3) and published.shape == (16, 32, 3)
    assert shown[4].max() < 10 and shown[-4].min() > 245
    assert published[:, 4].max() < 10 and published[:, -4].min() > 245


@pytest.mark.parametrize("name", ["a.gif", "a.apng", "a.webp", "a.tif", "a.mpo"])
def test_of_several_frames_the_first_is_read(name, tmp_path):
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    file = saved(tmp_path, red, name, save_all=True, append_images=[blue])
    assert np.abs(np.array(rows(file)) - RED).max() <= 2
    assert said([file]) == "1 of several frames, of which the first is read"


def torn_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    content = file.getvalue()
    return content, content[: len(content) // 2]


WHOLE, HALF = torn_jpeg()
REFUSED = {
    "exceeds limit": png((60_000, 60_000), 8, COLOUR, b""),
    "too large": png(
        (1, 1), 8, GREY, b"\0", chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000)))
    ),
    "truncated": HALF,
    "it ends in zeros": HALF + bytes(len(WHOLE) - len(HALF)),
    "no picture of a known format": b"",
    "header is damaged": png((1, 1), 8, GREY, b"\0").replace(b"IHDR\0", b"IHDR\1"),
}


@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.parametrize("name", ["bad.png", "bad.jpg"])
def test_bad_files_are_refused_by_name_before_the_stream(words, name, tmp_path):
    file = written(tmp_path, REFUSED[words], name)
    for refuse in (read_image, lambda path: check_image(path, header=True)):
        with pytest.raises(UserError, match=f"(?i)^image '.*{name}' cannot be decoded.*({words})"):
            refuse(file)


def test_pixels_of_a_png_are_what_was_written_or_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    file = saved(tmp_path, Image.fromarray(pixels), "a.png")
    whole = file.read_bytes()
    start, stop = whole.index(b"IDAT"), whole.index(b"IEND")
    for place in range(start + 4, stop - 4, 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match="checksum of its pixels is wrong"):
            read_image(file)
    file.write_bytes(whole + b"more")
    assert (read_image(file).permute(1, 2, 0).numpy() == pixels).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.ones((2, 2), np.float32), "floating-point numbers"),
        (np.ones((2, 2), np.int32), "32-bit numbers"),
    ],
)
def test_numbers_without_a_range_are_refused(image, words, tmp_path):
    file = saved(tmp_path, Image.fromarray(image), "numbers.tif")
    with pytest.raises(UserError, match=f"numbers.tif' cannot be decoded .*{words}.* 8 or 16 bits"):
        check_image(file)


def test_zeros_behind_the_end_do_no_harm(tmp_path):
    whole, padded = written(tmp_path, WHOLE, "a.jpg"), written(tmp_path, WHOLE + bytes(99), "b.jpg")
    check_image(padded)
    assert rows(padded) == rows(whole)


WRITTEN = ["bmp", "gif", "jpg", "png", "webp"]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_whole_files_are_known_by_their_ends(suffix, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    file = saved(tmp_path, Image.fromarray(noise), f"a.{suffix}")
    with monkeypatch.context() as patch:
        patch.setattr("tta.datasets.images.read_image", pytest.fail)
        check_image(file)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match="cannot be decoded"):
        check_image(file)


def test_every_file_counts(tmp_path):
    files = [saved(tmp_path, palette(), f"{k}.png", transparency=0) for k in range(9)]
    exif = Image.Exif()
    exif[0x0112] = 6
    files.append(saved(tmp_path, Image.new("RGBA", (3, 2)), "turned.png", exif=exif))
    headers = headers_of(files, "replace it")
    assert survey(headers) == (
        "1 turned by their EXIF orientation, 10 with transparency, shown over white"
    )
    assert sizes_of(headers) == {(1, 3), (3, 2)}
