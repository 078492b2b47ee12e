"""Classes of a user's own: found by path and by module, and never imported unasked."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from hooks import own_classes
from hooks.own_classes import (
    code_file,
    find_class,
    is_reference,
    reference_to,
    short_name,
    trust,
    trusting,
)

CODE = """
from fractions import Fraction
from pathlib import Path

with Path({marker!r}).open("a") as file:
    file.write("imported ")


class Mine(Fraction):
    size = {size}


class Other: ...


value = 3
"""


def imports(folder: Path) -> int:
    """How often a file of this folder has been imported."""
    marker = folder / "marker"
    return marker.read_text().count("imported") if marker.is_file() else 0


def write(folder: Path, name: str = "mine.py", size: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(CODE.format(marker=str(folder / "marker"), size=size))
    return path


def forget(monkeypatch) -> None:
    """What another process would know: what is written down, and nothing imported."""
    monkeypatch.setattr(own_classes, "_trusted", set())
    for name in [name for name in sys.modules if name.startswith(("mine", "ownpackage"))]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on Python's path, `ownpackage.mine`."""
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / "ownpackage")
    (tmp_path / "ownpackage" / "__init__.py").touch()
    yield tmp_path / "ownpackage"
    for name in [name for name in sys.modules if name.startswith("ownpackage")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("mine.py:Mine", True),
        ("/a b/mine.py:Mine", True),
        ("package.module:Mine", True),
        ("C:\\mine.py:Mine", True),
        ("modular_arithmetic", False),
        ("mine.py", False),
        ("mine.py:", False),
        (":Mine", False),
        ("mine.py:3", False),
        (3, False),
    ],
)
def test_a_reference_is_a_place_a_colon_and_a_class(name, is_one):
    assert is_reference(name) is is_one


def test_a_class_is_found_in_a_file_beside_the_users_own(tmp_path):
    file = write(tmp_path)
    found = find_class("mine.py:Mine", Fraction, tmp_path)
    assert found(1, 2) == Fraction(1, 2)
    assert (found.__name__, code_file(found)) == ("Mine", file)
    assert reference_to(found) == f"{file}:Mine"
    assert short_name(reference_to(found)) == "Mine"


def test_a_file_is_imported_once(tmp_path):
    write(tmp_path)
    first = find_class("mine.py:Mine", Fraction, tmp_path)
    assert find_class("mine.py:Mine", Fraction, tmp_path) is first
    assert imports(tmp_path) == 1


def test_an_edited_file_is_imported_anew(tmp_path):
    write(tmp_path)
    assert find_class("mine.py:Mine", Fraction, tmp_path).size == 1  # pyright: ignore[reportAttributeAccessIssue]
    write(tmp_path, size=2)
    assert find_class("mine.py:Mine", Fraction, tmp_path).size == 2  # pyright: ignore[reportAttributeAccessIssue]


def test_two_files_of_one_name_are_two_modules(tmp_path):
    write(tmp_path / "a", size=1)
    write(tmp_path / "b", size=2)
    sizes = [find_class("mine.py:Mine", Fraction, tmp_path / name).size for name in "ab"]  # pyright: ignore[reportAttributeAccessIssue]
    assert sizes == [1, 2]


def test_a_file_imports_what_stands_beside_it_and_the_path_is_left_as_it_was(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("Base = float")
    (tmp_path / "mine.py").write_text("from neighbour_of_mine import Base\nclass Mine(Base): ...\n")
    path = list(sys.path)
    assert issubclass(find_class("mine.py:Mine", float, tmp_path), float)
    assert sys.path == path
    del sys.modules["neighbour_of_mine"]


def test_a_class_is_found_in_a_module(package, tmp_path):
    found = find_class("ownpackage.mine:Mine", Fraction, tmp_path)
    assert reference_to(found) == "ownpackage.mine:Mine"
    assert code_file(found) == package / "mine.py"


MISTAKES = {
    "nowhere.py:Mine": "nowhere.py does not exist",
    "mine.py:Missing": "mine.py has no class Missing",
    "mine.py:value": "mine.py has no class value",
    "mine.py:Other": "mine.py:Other is no Fraction: let it inherit from that class",
    "broken.py:Mine": "broken.py cannot be imported: SyntaxError",
    "failing.py:Mine": "failing.py cannot be imported: ZeroDivisionError: division by zero",
    "leaving.py:Mine": "leaving.py cannot be imported: SystemExit",
    "lacking.py:Mine": "lacking.py cannot be imported: ModuleNotFoundError: No module named 'nope'",
    "no.such.module:Mine": "no.such.module cannot be imported: ModuleNotFoundError",
    "module_of_mine:Mine": "module_of_mine cannot be imported: ZeroDivisionError",
    "nosuchmodule:Mine": "there is no module nosuchmodule: install it, or name a file",
    "sys:Mine": "sys has no class Mine",
    "fractions:Fraction": None,
    "Mine": "'Mine' names no class: write FILE.py:CLASS or MODULE:CLASS",
}


@pytest.mark.parametrize(("reference", "message"), MISTAKES.items(), ids=str)
def test_what_is_wrong_is_said_in_one_line(reference, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path)
    (tmp_path / "module_of_mine.py").write_text("1 / 0\n")
    (tmp_path / "broken.py").write_text("class Mine(:\n")
    (tmp_path / "failing.py").write_text("1 / 0\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "lacking.py").write_text("import nope\n")
    if message is None:
        assert find_class(reference, Fraction, tmp_path) is Fraction
        return
    with pytest.raises(ValueError, match=message.replace("(", "\\(")):
        find_class(reference, Fraction, tmp_path)


def test_a_file_that_failed_is_tried_again(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from neighbour_to_come import Base\nclass Mine(Base): ...\n")
    with pytest.raises(ValueError, match="No module named 'neighbour_to_come'"):
        find_class("mine.py:Mine", float, tmp_path)
    (tmp_path / "neighbour_to_come.py").write_text("Base = float")
    assert issubclass(find_class("mine.py:Mine", float, tmp_path), float)
    del sys.modules["neighbour_to_come"]


def test_an_import_can_be_interrupted(tmp_path):
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        find_class("mine.py:Mine", Fraction, tmp_path)


def test_what_a_run_folder_names_is_not_imported(tmp_path):
    file = write(tmp_path)
    with pytest.raises(ValueError, match="and is not the file that you trained with: read it"):
        find_class(f"{file}:Mine", Fraction, None)
    assert imports(tmp_path) == 0


def test_a_module_that_a_run_folder_names_is_not_imported(package):
    (package / "__init__.py").write_text((package / "mine.py").read_text())
    with pytest.raises(ValueError, match=r"ownpackage.mine holds a class of this run"):
        find_class("ownpackage.mine:Mine", Fraction, None)
    assert imports(package) == 0


def test_what_the_user_named_may_be_named_by_a_run_in_another_process(tmp_path, monkeypatch):
    file = write(tmp_path)
    find_class("mine.py:Mine", Fraction, tmp_path)
    forget(monkeypatch)
    assert find_class(f"{file}:Mine", Fraction, None).__name__ == "Mine"


def test_a_module_that_the_user_named_may_be_named_by_a_run(package, tmp_path, monkeypatch):
    find_class("ownpackage.mine:Mine", Fraction, tmp_path)
    forget(monkeypatch)
    assert find_class("ownpackage.mine:Mine", Fraction, None).__name__ == "Mine"
    forget(monkeypatch)
    write(package, size=2)
    with pytest.raises(ValueError, match=r"ownpackage.mine holds a class of this run"):
        find_class("ownpackage.mine:Mine", Fraction, None)


def test_another_content_or_place_is_not_trusted(tmp_path, monkeypatch):
    file = write(tmp_path)
    find_class("mine.py:Mine", Fraction, tmp_path)
    copy = tmp_path / "copy.py"
    copy.write_bytes(file.read_bytes())
    forget(monkeypatch)
    with pytest.raises(ValueError, match=r"copy.py holds a class of this run"):
        find_class(f"{copy}:Mine", Fraction, None)
    write(tmp_path, size=2)
    with pytest.raises(ValueError, match=r"mine.py holds a class of this run"):
        find_class(f"{file}:Mine", Fraction, None)
    assert imports(tmp_path) == 1


def test_trusting_imports_and_writes_down(tmp_path, monkeypatch):
    file = write(tmp_path)
    with trusting():
        find_class(f"{file}:Mine", Fraction, None)
    forget(monkeypatch)
    assert find_class(f"{file}:Mine", Fraction, None).__name__ == "Mine"


def test_trust_ends_with_its_context(tmp_path):
    file = write(tmp_path)
    with trusting():
        pass
    with pytest.raises(ValueError, match="is not the file that you trained with"):
        find_class(f"{file}:Mine", Fraction, None)


def test_the_record_is_as_sha256sum_writes_it(tmp_path):
    file = write(tmp_path)
    trust(f"{file}:Mine")
    trust(f"{file}:Mine")
    record = Path(os.environ["XDG_STATE_HOME"]) / "interp" / "trusted.txt"
    (line,) = record.read_text().splitlines()
    digest, _, path = line.partition("  ")
    assert (len(digest), path) == (64, str(file))
    assert imports(tmp_path) == 0


def test_where_nothing_can_be_written_down_the_process_goes_on(tmp_path, monkeypatch):
    (tmp_path / "state").touch()  # a file where the folder would be
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = write(tmp_path)
    with pytest.warns(UserWarning, match="cannot be written .* set XDG_STATE_HOME to a folder"):
        find_class("mine.py:Mine", Fraction, tmp_path)
    assert find_class(f"{file}:Mine", Fraction, None).__name__ == "Mine"
    forget(monkeypatch)
    with pytest.raises(ValueError, match="is not the file that you trained with"):
        find_class(f"{file}:Mine", Fraction, None)
