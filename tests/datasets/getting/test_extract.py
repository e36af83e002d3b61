import io
import stat
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from tta.datasets.getting.extract import extract
from tta.foundation.errors import UserError


def tar_of(path, *members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, 4 if kind == b"0" else 0
            tar.addfile(member, io.BytesIO(b"data"))


def zip_of(path, *names, mode=stat.S_IFREG):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = (mode | 0o644) << 16
            archive.writestr(member, b"data")


def test_archives_join_what_is_there(tmp_path):
    (tmp_path / "out" / "fog").mkdir(parents=True)
    (tmp_path / "out" / "fog" / "old").write_text("old")
    tar_of(tmp_path / "a.tar.gz", ("fog/new", b"0", ""), ("snow/1", b"0", ""), mode="w:gz")
    zip_of(tmp_path / "b.zip", "rain/1")
    extract(tmp_path / "a.tar.gz", tmp_path / "out")
    extract(tmp_path / "b.zip", tmp_path / "out")
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("out/**/*"))
    assert found == ["fog", "fog/new", "fog/old", "rain", "rain/1", "snow", "snow/1"]


def test_a_tar_under_the_name_of_a_gzip_file(tmp_path):
    tar_of(tmp_path / "a.tar.gz", ("x", b"0", ""))
    extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert (tmp_path / "out" / "x").read_text() == "data"


UNSAFE = {
    "parent": [("../x", b"0", "")],
    "absolute": [("/tmp/x", b"0", "")],
    "backslashes": [("a\\..\\..\\x", b"0", "")],
    "link": [("x", b"2", "first")],
    "link out": [("x", b"2", "../../secret")],
    "absolute link": [("x", b"2", "/etc/passwd")],
    "hard link": [("x", b"1", "first")],
    "hard link out": [("x", b"1", "../secret")],
    "device": [("x", b"3", "")],
    "pipe": [("x", b"6", "")],
    "file through a link": [("out", b"2", "../.."), ("out/x", b"0", "")],
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_a_tar_that_leads_out_or_links_is_refused(kind, tmp_path):
    tar_of(tmp_path / "a.tar", ("first", b"0", ""), *UNSAFE[kind])
    with pytest.raises(UserError, match="leads out of its folder|is a link or a device"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "x").exists()


def test_a_chain_of_links_that_python_s_own_filter_let_out(tmp_path):
    """CVE-2025-4517: beyond PATH_MAX, real paths are not resolved, and links lead out."""
    step = "d" * 247
    members, path = [], ""
    for letter in "abcdefghijklmnop":
        members.append((f"{path}{step}", b"5", ""))
        members.append((f"{path}{letter}", b"2", step))
        path += f"{step}/"
    long = "/".join("abcdefghijklmnop")
    members.append((f"{long}/{'l' * 254}", b"2", "../" * 16))
    members.append(("escape", b"2", f"{long}/{'l' * 254}/../../secret"))
    members.append(("flaglink", b"1", "escape"))
    members.append(("flaglink", b"0", ""))
    (tmp_path / "secret").write_text("before")
    tar_of(tmp_path / "a.tar", *members)
    with pytest.raises(UserError, match="is a link or a device"):
        extract(tmp_path / "a.tar", tmp_path / "deep" / "out")
    assert (tmp_path / "secret").read_text() == "before"


def test_no_python_s_own_filter_is_needed(tmp_path, monkeypatch):
    tar_of(tmp_path / "a.tar", ("x", b"0", ""))
    monkeypatch.delattr(tarfile, "data_filter")
    extract(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / "x").read_text() == "data"


def test_a_planted_link_is_not_unpacked_through(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".a.tar.unpacking").symlink_to(tmp_path / "elsewhere")
    tar_of(tmp_path / "a.tar", ("x", b"0", ""))
    extract(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / "x").read_text() == "data"
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\..\\x"])
def test_a_zip_that_leads_out_is_refused(name, tmp_path):
    zip_of(tmp_path / "a.zip", "first", name)
    with pytest.raises(UserError, match="leads out of its folder"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_links_in_a_zip_are_refused(tmp_path):
    zip_of(tmp_path / "a.zip", "link", mode=stat.S_IFLNK)
    with pytest.raises(UserError, match="is a link or a device"):
        extract(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_a_damaged_archive_leaves_nothing(name, tmp_path):
    if name == "a.zip":
        zip_of(tmp_path / name, *map(str, range(40)))
    else:
        members = [(str(k), b"0", "") for k in range(40)]
        tar_of(tmp_path / name, *members, mode="w:gz" if name.endswith("gz") else "w")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2 - 100])
    with pytest.raises(UserError, match="is damaged"):
        extract(tmp_path / name, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def _with_size(tar, start, size):
    header = bytearray(tar[start : start + 512])
    header[124:136] = (size % 256**12).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return tar[:start] + header + tar[start + 512 :]


SPOILT = {
    "a flipped bit in a header": lambda tar: tar[:1027] + bytes([tar[1027] ^ 1]) + tar[1028:],
    "a blanked header": lambda tar: tar[:1024] + bytes(512) + tar[1536:],
    "cut between members": lambda tar: tar[:2048],
    "cut in a header": lambda tar: tar[:2148],
    "a size below zero, which loops": lambda tar: _with_size(tar, 1024, -512),
    "a size below zero, backwards": lambda tar: _with_size(tar, 1024, -1024),
    "a size below zero, under a block": lambda tar: _with_size(tar, 1024, -1),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_plain_tar_is_whole_or_damaged_never_a_part(name, tmp_path):
    """There is no checksum of the whole, and tarfile takes a damaged header for the end."""
    file = tmp_path / "a.tar"
    tar_of(file, *((str(k), b"0", "") for k in range(4)))
    file.write_bytes(SPOILT[name](file.read_bytes()))
    with pytest.raises(UserError, match="is damaged"):
        extract(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_where_a_folder_belongs(tmp_path):
    tar_of(tmp_path / "a.tar", ("x", b"0", ""), ("x/y", b"0", ""))
    with pytest.raises(UserError, match="is damaged"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_damaged_bytes_of_every_compression(tmp_path):
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    for method in methods:
        file = tmp_path / f"{method}.zip"
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("x", bytes(range(256)) * 20)
        content = bytearray(file.read_bytes())
        content[36:60] = bytes(24)
        file.write_bytes(content)
        with pytest.raises(UserError, match="is damaged|cannot be unpacked"):
            extract(file, tmp_path / "out")
    for kind in ("gz", "bz2", "xz"):
        file = tmp_path / f"a.tar.{kind}"
        tar_of(file, *((str(k), b"0", "") for k in range(40)), mode=f"w:{kind}")
        content = bytearray(file.read_bytes())
        content[-12:-4] = bytes(8)  # where checksums are, behind the last member
        file.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            extract(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("offset", "value"), [(6, 1), (8, 99)], ids=["encrypted", "odd method"])
def test_a_zip_that_python_cannot_read(offset, value, tmp_path):
    file = tmp_path / "a.zip"
    zip_of(file, "x")
    content = bytearray(file.read_bytes())
    content[offset] = value
    content[content.index(b"PK\x01\x02") + offset + 2] = value
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be unpacked"):
        extract(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_more_than_the_disk_holds(tmp_path):
    file = tmp_path / "a.zip"
    zip_of(file, "x")
    content = bytearray(file.read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = b"\xfe\xff\xff\xff"
    file.write_bytes(content)
    small = SimpleNamespace(free=10**6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: small)
        with pytest.raises(UserError, match="unpacks to 4.0 GiB, and .* has 0.0 GiB; make room"):
            extract(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
