"""Files are written whole or not at all."""

import os
import stat

import pytest

from planck.errors import FileError
from planck.files import check_writable, make_folder, replacing, write_file


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(tmp_path, error):
    def parts():
        yield b"half"
        raise error

    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(FileError if isinstance(error, OSError) else KeyboardInterrupt):
        write_file(path, parts())
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_who_may_read(tmp_path):
    mask = os.umask(0o077)
    try:
        write_file(tmp_path / "all", b"")
        with replacing(tmp_path / "own"):
            pass
    finally:
        os.umask(mask)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"all": 0o644, "own": 0o600}


def test_what_cannot_be_written_is_known_before(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    check_writable(tmp_path / "a")
    check_writable(tmp_path / "file")
    for path in (tmp_path, tmp_path / "no" / "a", tmp_path / "file" / "a"):
        with pytest.raises(FileError, match="cannot write") as before:
            check_writable(path)
        with pytest.raises(FileError) as after:
            write_file(path, b"")
        assert str(before.value) == str(after.value)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(FileError, match="cannot write") as before:
        check_writable(tmp_path / "a")
    assert before.value.know == "Permission denied"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (".", tmp_path, tmp_path / "no" / "a"):
        with pytest.raises(FileError, match="cannot write"):
            write_file(path, b"")
    assert not list(tmp_path.iterdir())


def test_folders_are_made_or_refused(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "a"):
        with pytest.raises(FileError, match="cannot make the folder"):
            make_folder(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_is_written_itself(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe, 0o600)
    link.symlink_to(pipe)
    check_writable(link)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(link, [b"some", b"more"])
        assert os.read(reader, 100) == b"somemore"
    finally:
        os.close(reader)
    assert link.is_symlink()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o600
    assert {p.name for p in tmp_path.iterdir()} == {"pipe", "link"}


def test_links_stay_links(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    link, beside = tmp_path / "link", tmp_path / "beside"
    link.symlink_to(folder / "file")
    beside.symlink_to(tmp_path / "nowhere" / "file")
    for body in (b"first", b"second"):
        check_writable(link)
        write_file(link, body)
        assert link.is_symlink()
        assert (folder / "file").read_bytes() == body
    assert [p.name for p in folder.iterdir()] == ["file"]
    for use in (check_writable, lambda path: write_file(path, b"")):
        with pytest.raises(FileError, match="cannot write"):
            use(beside)
