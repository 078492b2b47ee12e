import os
import resource
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest

from interp.runs.safe_files import append_whole, make_folder, move_folder, sync, write_whole


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def synced(monkeypatch):
    """What is synced, as paths, while it goes on being synced."""
    done, real = [], os.fsync

    def fsync(file):
        done.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return done


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "new" / "file", b"content")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["file"]


@contextmanager
def full_disk():
    """No file may grow beyond 100 bytes: for a moment only, since pytest may print to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_does_not_fit_leaves_the_earlier_one(tmp_path):
    write_whole(tmp_path / "file", b"earlier")
    with (
        pytest.raises(OSError, match=r"/file could not be written \(File too large\); nothing is"),
        full_disk(),
    ):
        write_whole(tmp_path / "file", bytes(101))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_a_line_that_does_not_fit_is_taken_back(tmp_path):
    (tmp_path / "file").write_bytes(b"earlier")
    with (
        pytest.raises(OSError, match=r"/file could not be written \(File too large\); nothing is"),
        full_disk(),
    ):
        append_whole(tmp_path / "file", bytes(101))
    assert (tmp_path / "file").read_bytes() == b"earlier"


def test_a_line_is_added_at_the_end(tmp_path):
    (tmp_path / "file").write_bytes(b"earlier\n")
    append_whole(tmp_path / "file", b"later\n")
    assert (tmp_path / "file").read_bytes() == b"earlier\nlater\n"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path, mask):
    with umask(mask):
        write_whole(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_a_link_is_replaced_and_what_it_points_to_is_left(tmp_path):
    (tmp_path / "notes").write_bytes(b"somebody's")
    (tmp_path / "file").symlink_to("notes")
    write_whole(tmp_path / "file", b"ours")
    assert [(tmp_path / name).read_bytes() for name in ("notes", "file")] == [
        b"somebody's",
        b"ours",
    ]
    assert not (tmp_path / "file").is_symlink()


def test_a_link_under_a_temporary_name_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "notes").write_bytes(b"somebody's")
    monkeypatch.setattr("secrets.token_hex", lambda count: "0" * 2 * count)
    (tmp_path / "linked" / "x").parent.mkdir()
    (tmp_path / "linked" / ".file.00000000.tmp").symlink_to("../notes")
    monkeypatch.setattr("interp.runs.safe_files._remove_temporaries", lambda path: None)
    with pytest.raises(OSError, match=r"file could not be written \(File exists\)"):
        write_whole(tmp_path / "linked" / "file", b"ours")
    assert (tmp_path / "notes").read_bytes() == b"somebody's"


def test_nothing_is_appended_through_a_link(tmp_path):
    (tmp_path / "notes").write_bytes(b"somebody's")
    (tmp_path / "file").symlink_to("notes")
    with pytest.raises(ValueError, match=r"/file is a symbolic link, through which nothing is"):
        append_whole(tmp_path / "file", b"ours")
    assert (tmp_path / "notes").read_bytes() == b"somebody's"


@pytest.mark.parametrize("left", [".a.0123abcd.tmp", ".a.tmp"])
def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path, left):
    (tmp_path / left).write_bytes(b"half")
    write_whole(tmp_path / "a", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("other", [".b.0123abcd.tmp", ".a.b.0123abcd.tmp", "a.0123abcd.tmp", ".a"])
def test_other_files_are_left_as_they_are(tmp_path, other):
    (tmp_path / other).write_bytes(b"")
    write_whole(tmp_path / "a", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a", other}


def test_a_file_is_synced_before_its_rename_and_the_folder_after(tmp_path, synced, monkeypatch):
    rename = type(tmp_path).replace

    def replace(path, to):
        synced.append("rename")
        return rename(path, to)

    monkeypatch.setattr(type(tmp_path), "replace", replace)
    write_whole(tmp_path / "file", b"content")
    file, *others = synced
    assert file.startswith(f"{tmp_path}/.file.")
    assert others == ["rename", str(tmp_path)]


def test_what_can_be_written_again_is_not_synced(tmp_path, synced):
    write_whole(tmp_path / "file", b"content", durable=False)
    assert synced == []


def test_a_new_folder_is_synced_in_the_one_above(tmp_path, synced):
    make_folder(tmp_path / "a" / "b")
    assert synced == [str(tmp_path), str(tmp_path / "a")]


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path, synced):
    make_folder(tmp_path)
    assert synced == []


def test_a_moved_folder_is_synced_in_its_new_place(tmp_path, synced):
    (tmp_path / "made").mkdir()
    move_folder(tmp_path / "made", tmp_path / "to")
    assert synced == [str(tmp_path)]
    assert (tmp_path / "to").is_dir()


def test_a_file_is_synced_by_name(tmp_path, synced):
    (tmp_path / "file").write_bytes(b"")
    sync(tmp_path / "file")
    assert synced == [str(tmp_path / "file")]
