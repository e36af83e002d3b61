import hashlib
import io
import shutil
import tarfile

import pytest

from tests.datasets.getting.server import serve
from tta.datasets.getting.download import ATTEMPTS, Download, fetch
from tta.foundation.errors import UserError


def archive(size=300_000):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("data/a.bin")
        member.size = size
        tar.addfile(member, io.BytesIO(bytes(range(256)) * (size // 256 + 1)))
    return file.getvalue()


CONTENT = archive()
SIZE = len(CONTENT)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serve(CONTENT) as running:
        yield running


def download(server, name="a.tar", size=SIZE, checksum=MD5):
    return Download(server.url + name, name, size, checksum, "its authors")


def test_a_file_arrives_whole(server, tmp_path):
    path = fetch(download(server), tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["a.tar"]
    fetch(download(server), path.parent)
    assert server.asked == [0]  # what is there is not got again


def test_cut_connections_are_continued(server, tmp_path):
    server.cut_after = 70_000
    path = fetch(download(server), tmp_path, pause=0)
    assert path.read_bytes() == CONTENT
    assert server.asked == [0, 70_000, 140_000, 210_000, 280_000]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert fetch(download(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [1000]


def test_a_part_is_kept_for_a_later_run(server, tmp_path):
    server.cut_after, server.ranges = 5000, False
    with pytest.raises(UserError, match="gave 5000 bytes and then failed.*run this again"):
        fetch(download(server), tmp_path, pause=0)
    assert len(server.asked) == ATTEMPTS
    assert not (tmp_path / "a.tar").exists()
    server.cut_after, server.ranges = None, True
    assert fetch(download(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == 5000


def test_a_whole_part_needs_no_server(tmp_path):
    (tmp_path / "a.tar.part").write_bytes(CONTENT)
    unreachable = Download("http://127.0.0.1:9/a.tar", "a.tar", len(CONTENT), MD5, "its authors")
    assert fetch(unreachable, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
@pytest.mark.parametrize("name", ["a.tar", "a.zip", "list.txt"])
def test_a_web_page_is_not_saved(server, tmp_path, kind, name):
    server.page, server.type = b"\n<!DOCTYPE html><title>Sign in</title>" + b" " * 600, kind
    with pytest.raises(UserError, match="sends a web page in place of"):
        fetch(download(server, name, size=None, checksum=""), tmp_path)
    assert not (tmp_path / name).exists()


def test_something_that_is_no_archive_is_not_saved(server, tmp_path):
    server.page = b'{"error": "quota exceeded"}' + bytes(600)
    with pytest.raises(UserError, match="does not send an archive: it begins with"):
        fetch(download(server, size=None, checksum=""), tmp_path)


def test_another_length_than_published_is_refused_at_once(server, tmp_path):
    with pytest.raises(UserError, match=f"announces {len(CONTENT)} bytes where 999 are published"):
        fetch(download(server, size=999), tmp_path)
    assert len(server.asked) == 1


def test_a_server_that_announces_too_much(server, tmp_path):
    server.extra_length = 500
    with pytest.raises(UserError, match=f"gave {len(CONTENT)} bytes and then failed"):
        fetch(download(server, size=None, checksum=""), tmp_path, pause=0)
    assert len(server.asked) == ATTEMPTS
    assert not (tmp_path / "a.tar").exists()


def test_a_server_that_announces_too_little(server, tmp_path):
    server.extra_length = -500
    with pytest.raises(UserError, match="md5 .* is published by its authors; it was deleted"):
        fetch(download(server, size=None), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_is_never_given_the_name(server, tmp_path):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(UserError, match="it was deleted, run this again"):
        fetch(download(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_asked_for_twice(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match="answers 404"):
        fetch(download(server), tmp_path)
    assert len(server.asked) == 1
    server.status = 503
    with pytest.raises(UserError, match="503"):
        fetch(download(server), tmp_path, pause=0)
    assert len(server.asked) == 1 + ATTEMPTS


def test_a_small_disk_is_found_before_the_download(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * len(CONTENT) - 1))
    with pytest.raises(UserError, match="needs .* GiB, to arrive and be unpacked"):
        fetch(download(server), tmp_path)
    assert (tmp_path / "a.tar.part").stat().st_size == 0


def test_a_folder_that_cannot_be_written_to(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*a.tar.part"):
        fetch(download(server), tmp_path / "file")
    assert server.asked == []


def test_a_part_that_is_something_else_is_deleted(tmp_path, server):
    (tmp_path / "a.tar.part").write_bytes(b"<html>" + bytes(SIZE - 6))
    with pytest.raises(UserError, match="sends a web page"):
        fetch(download(server), tmp_path)
    assert fetch(download(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT[:-1]])
def test_a_file_that_lay_there_is_checked_and_left(content, server, tmp_path):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match="a.tar.* published.*; delete it, then run this again"):
        fetch(download(server), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == content
    assert server.asked == []


def test_a_link_at_the_name_of_the_part_is_not_followed(server, tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "data"
    victim.write_bytes(b"precious")
    folder.mkdir()
    (folder / "a.tar.part").symlink_to(victim)
    with pytest.raises(UserError, match="a.tar.part"):
        fetch(download(server), folder)
    assert victim.read_bytes() == b"precious"
    assert server.asked == []
