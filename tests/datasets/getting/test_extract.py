import io
import stat
import tarfile
import zipfile

import pytest

from tta.datasets.getting.extract import extract
from tta.errors import UserError


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
    "parent": ("../x", b"0", ""),
    "link out": ("x", b"2", "../../secret"),
    "absolute link": ("x", b"2", "/etc/passwd"),
    "hard link out": ("x", b"1", "../secret"),
    "device": ("x", b"3", ""),
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_a_tar_that_leads_out_is_refused(kind, tmp_path):
    tar_of(tmp_path / "a.tar", ("first", b"0", ""), UNSAFE[kind])
    with pytest.raises(UserError, match="leads out of its folder"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "x").exists()


def test_an_absolute_path_lands_inside(tmp_path):
    tar_of(tmp_path / "a.tar", (f"{tmp_path}/escaped", b"0", ""))
    extract(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\..\\x"])
def test_a_zip_that_leads_out_is_refused(name, tmp_path):
    zip_of(tmp_path / "a.zip", "first", name)
    with pytest.raises(UserError, match="leads out of its folder"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_links_in_a_zip_are_refused(tmp_path):
    zip_of(tmp_path / "a.zip", "link", mode=stat.S_IFLNK)
    with pytest.raises(UserError, match="leads out of its folder"):
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


def test_a_python_that_cannot_look_for_unsafe_members_unpacks_nothing(tmp_path, monkeypatch):
    tar_of(tmp_path / "a.tar", ("x", b"0", ""))
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(UserError, match="use Python 3.10.12"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
