"""npz files of one's own: the numbers that occur, and archives of every kind."""

import time
import zipfile

import numpy as np
import pytest
import torch

from tta.datasets import open_dataset
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def save(path, **arrays):
    np.savez(path, **{"images": IMAGES, "labels": LABELS, **arrays})
    return f"arrays:{path}"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.npz"


FAR = 2**40


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_only_domains_that_occur_are_made(kind, file):
    numbers = np.array([FAR, 3, FAR, 3, 3, 2**62], kind)
    started = time.perf_counter()
    data = open_dataset(save(file, domains=numbers))
    assert time.perf_counter() - started < 1
    assert data.domains == ("domain3", f"domain{FAR}", f"domain{2**62}")
    assert data.labels(f"domain{FAR}").tolist() == [0, 2]
    assert torch.equal(
        data.images("domain3", 0, np.array([2, 0])),
        torch.from_numpy(IMAGES[[4, 1]]).permute(0, 3, 1, 2),
    )
    domain, index = data.stored_order()
    assert domain.tolist() == [1, 0, 1, 0, 0, 2]
    assert index.tolist() == [0, 0, 1, 1, 2, 0]
    assert len(plan_stream("continual", data, ScenarioOptions())) == 6


def test_names_are_counted_by_the_numbers_also_where_some_do_not_occur(file):
    data = open_dataset(
        save(file, domains=[2, 0, 2, 0, 0, 2], names=["rain", "fog", "snow", "hail"])
    )
    assert data.domains == ("rain", "snow")
    assert data.labels("snow").tolist() == [0, 2, 2]


def test_names_of_bytes_are_text(file):
    data = open_dataset(save(file, domains=[0, 0, 1, 1, 1, 1], names=np.array([b"a", b"b"])))
    assert data.domains == ("a", "b")


REFUSED = {
    "0-d names": ({"names": np.array("rain")}, r"'names' .* text of shape \[D\].*shape \[\]"),
    "0-d labels": ({"labels": np.array(1)}, r"'labels' .* shape \[N\], but .* shape \[\]"),
    "0-d images": ({"images": np.array(1, np.uint8)}, r"'images' .* shape \[\]"),
    "0-d domains": ({"domains": np.array(0)}, r"'domains' .* shape \[\]"),
    "2-d names": ({"names": np.array([["a", "b"]])}, r"'names' .* shape \[1, 2\]"),
    "names that are numbers": ({"names": np.array([0.5, 1.5])}, "'names' .* is float64"),
    "too few names": ({"names": ["a"]}, "domains count up to 1, but it holds 1"),
    "equal names": ({"names": ["a", "a"]}, "holds 2, 1 of them different"),
    "a huge number": ({"domains": [0, 0, 0, 0, 0, FAR], "names": ["a"]}, f"up to {FAR}"),
    "half a character": ({"names": ["a", "\udcff"]}, "'names' .*half a character"),
    "half a class": ({"classes": ["a", "b", "\udcff"]}, "'classes' .*half a character"),
    "no character": (
        {"names": np.array([97, 2**30], np.uint32).view("U1")},
        "'names' .* hold what no text does",
    ),
    "an empty name": ({"names": ["a", ""]}, "'names' .* an empty one"),
    "no pixels": ({"images": IMAGES[:, :0]}, "N > 0 and H, W > 0"),
    "beyond 64 bits": ({"labels": np.full(6, 2**63, np.uint64)}, f"holds {2**63}"),
    "below unknown": ({"labels": LABELS - 2}, "must not be below -1 .* holds -2"),
    "another type": ({"labels": LABELS.astype(complex)}, "is complex128"),
    "objects": ({"labels": LABELS.astype(object)}, "file of plain arrays"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arrays_are_refused(case, file):
    arrays, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        open_dataset(save(file, **{"domains": [0, 0, 0, 1, 1, 1], **arrays}))


def test_arrays_that_nobody_asks_for_are_left_alone_and_named(file):
    plain = open_dataset(save(file))
    assert plain.understood() == {}
    data = open_dataset(save(file, notes=np.array([{"a": 1}], object), index=LABELS))
    assert data.digest() == plain.digest()
    assert data.understood() == {"files": "left out: arrays 'index', 'notes'"}


@pytest.mark.parametrize("name", ["domain", "Domains", "name"])
def test_a_name_that_is_nearly_right_is_refused(name, file):
    with pytest.raises(UserError, match=f"has an array '{name}' but no"):
        open_dataset(save(file, **{name: LABELS}))


def test_a_name_that_the_archive_has_in_two_ways_is_refused(file):
    save(file, domains=LABELS)
    content = file.read_bytes()
    assert content.count(b"domains.npy") == 2
    place = content.rindex(b"domains.npy")
    file.write_bytes(content[:place] + b"xxmains.npy" + content[place + 11 :])
    with pytest.raises(UserError, match="cannot be read as an .npz file"):
        open_dataset(f"arrays:{file}")


@pytest.mark.parametrize(
    "change",
    [
        {"images": IMAGES.reshape(6, 4, 16, 3)},
        {"images": IMAGES[::-1]},
        {"labels": LABELS[::-1]},
        {"domains": [0, 0, 0, 0, 0, 1]},
    ],
)
def test_the_digest_follows_shapes_and_contents(change, file):
    before = open_dataset(save(file)).digest()
    assert open_dataset(save(file, **change)).digest() != before


def members(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_of_every_compression_are_read(method, file):
    expected = open_dataset(save(file)).digest()
    arrays = members(file)
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    assert open_dataset(f"arrays:{file}").digest() == expected
    content = bytearray(file.read_bytes())
    middle = archive.getinfo("images.npy").header_offset + 300
    content[middle] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as an .npz file"):
        open_dataset(f"arrays:{file}")


def with_flags(file, encrypted=False, method=None):
    """Change what the archive says of how its members are stored, in both places."""
    content = bytearray(file.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + flags] |= encrypted
            if method is not None:
                content[place + flags + 2 : place + flags + 4] = method.to_bytes(2, "little")
            place = content.find(mark, place + 1)
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encrypted": True}, "encrypted"),
        ({"method": 97}, "compression method"),
        ({"method": 9}, "compression"),
        ({"method": 14}, "cannot be read as an .npz file"),
    ],
)
def test_archives_that_cannot_be_read_are_refused(change, words, file):
    save(file)
    with_flags(file, **change)
    with pytest.raises(UserError, match=f"(?i){words}"):
        open_dataset(f"arrays:{file}")


@pytest.mark.parametrize("place", [60, 140, 400, 900])
def test_a_flipped_byte_is_found(place, file):
    save(file)
    content = bytearray(file.read_bytes())
    content[place] ^= 0x11
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as|must be"):
        open_dataset(f"arrays:{file}")


def npy(header):
    text = header.encode() + b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


HEADERS = {
    "more than there is": "{'descr': '|u1', 'fortran_order': False, 'shape': (10, 8, 8, 3)}",
    "beyond memory": f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**60}, 8, 8, 3)}}",
    "beyond integers": f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70},)}}",
    "no shape": "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8)}",
    "no type": "{'descr': 'what', 'fortran_order': False, 'shape': (6, 8, 8, 3)}",
    "code": "__import__('os').getcwd()",
    "half a text": "{'descr': '|u1",
    "deep": "(" * 110,
    "fewer than there are": "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8, 3)}",
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_lie_are_refused(case, file):
    save(file)
    labels = members(file)["labels.npy"]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", npy(HEADERS[case]) + IMAGES.tobytes())
        archive.writestr("labels.npy", labels)
    with pytest.raises(UserError, match="cannot be read as an .npz file") as error:
        open_dataset(f"arrays:{file}")
    assert "\n" not in str(error.value)


def test_a_directory_that_has_lost_entries_is_refused(file):
    save(file, domains=LABELS, names=["a", "b", "c"])
    content = bytearray(file.read_bytes())
    end = content.rindex(b"PK\5\6")
    last = content.rindex(b"PK\1\2")
    size = int.from_bytes(content[end + 12 : end + 16], "little") - (end - last)
    content[end + 12 : end + 16] = size.to_bytes(4, "little")
    del content[last:end]
    file.write_bytes(content)
    assert "names.npy" not in zipfile.ZipFile(file).namelist()
    with pytest.raises(UserError, match="its directory has lost entries"):
        open_dataset(f"arrays:{file}")


@pytest.mark.parametrize("content", [b"", b"PK\5\6" + bytes(18), b"PK", b"\x93NUMPY\1\0"])
def test_files_that_are_no_archives(content, file):
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as|has no array 'images', only nothing"):
        open_dataset(f"arrays:{file}")


def test_a_single_array_is_no_archive(file):
    np.save(file.with_suffix(".npy"), IMAGES)
    with pytest.raises(UserError, match="cannot be read as an .npz file"):
        open_dataset(f"arrays:{file.with_suffix('.npy')}")
