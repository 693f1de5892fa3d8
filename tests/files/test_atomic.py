"""Files are written whole or not at all, and nothing is left of processes that were killed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from eventsim.errors import RunError
from eventsim.files import atomic

WRITE_AND_WAIT = """
import sys
from eventsim.files.atomic import Replacement
with Replacement(sys.argv[1]) as file:
    file.write(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def start_writer(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_files_that_belong_together_are_replaced_together(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    atomic.write_texts({first: "one", second: "two"})
    assert (first.read_text(), second.read_text()) == ("one", "two")
    second.unlink()
    second.mkdir()
    with pytest.raises(IsADirectoryError):
        atomic.write_texts({first: "other", second: "other"})
    assert first.read_text() == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with atomic.Replacement(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic.Replacement(target) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failure_to_sync_or_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(atomic.os, name, fail)
            with pytest.raises(OSError, match="No space"):
                atomic.write_bytes(target, b"new")
        assert target.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a"]


def test_the_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(handle: int) -> None:
        happened.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def watched_replace(a: Path, b: Path) -> None:
        happened.append("rename")
        replace(a, b)

    monkeypatch.setattr(atomic.os, "fsync", watched_fsync)
    monkeypatch.setattr(atomic.os, "replace", watched_replace)
    atomic.write_bytes(tmp_path / "a", b"new")
    assert happened == ["file", "rename", "folder"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "to" / "a")
    atomic.write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "to" / "a").read_text() == "text"


def test_folders_and_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is a folder") as caught:
        atomic.write_text(tmp_path, "text")
    assert caught.value.filename == str(tmp_path)
    # Not the name of the temporary file.
    with pytest.raises(FileNotFoundError) as caught:
        atomic.write_text(tmp_path / "nothing" / "a.txt", "text")
    assert caught.value.filename == str(tmp_path / "nothing" / "a.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        atomic.write_text(tmp_path / "pipe", "text")
    with pytest.raises(OSError, match="no usable file name"):
        atomic.write_text("a\0b", "text")


def test_names_of_any_length(tmp_path: Path) -> None:
    name = "ä" * 127
    atomic.write_text(tmp_path / name, "text")
    assert os.listdir(tmp_path) == [name]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead, alive, other = (start_writer(tmp_path / name) for name in ("a", "a", "a.b"))
    try:
        for process in (dead, other):
            process.kill()
            process.wait()
        before = set(os.listdir(tmp_path))
        assert len(before) == 3
        (tmp_path / ".a.something.part").write_text("a user's")
        atomic.write_text(tmp_path / "a", "text")
        left = set(os.listdir(tmp_path)) - {"a", ".a.something.part"}
        # The one that is being written, and the one of another target.
        assert left < before
        assert sorted(name.split("-")[0].rsplit(".", 1)[1] for name in left) == sorted(str(p.pid) for p in (alive, other))
        alive.communicate("")
        assert alive.returncode == 0
        assert (tmp_path / "a").read_bytes() == b"half"
    finally:
        for process in (dead, alive, other):
            process.kill()
            process.communicate()


def test_outputs_that_are_inputs_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_text("text")
    (tmp_path / "soft").symlink_to(source)
    os.link(source, tmp_path / "hard")
    (tmp_path / "folder").mkdir()
    for name in ("a", "soft", "hard", "folder/../a"):
        with pytest.raises(RunError, match="is an input"):
            atomic.check_output(tmp_path / name, None, tmp_path / "b", source)
    atomic.check_output(tmp_path / "c", None, tmp_path / "b", source)
    with pytest.raises(RunError, match="is an input"):
        atomic.check_output(tmp_path / "b", tmp_path / "folder" / ".." / "b")
