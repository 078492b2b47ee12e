"""What the pages show to be pasted works as it stands there, in a clean copy of the project."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.docs.blocks import Block, blocks, needed_by, pages, same_figures, with_lines

ROOT = Path(__file__).parents[2]
BLOCKS = [block for page in pages(ROOT) for block in blocks(ROOT, page)]
PASTED = sorted({block.page for block in BLOCKS if block.is_pasted and block.language != "toml"})
CI = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()

Paste = Callable[[str], Path]


def copy_of_the_project(place: Path) -> Path:
    """The files that git knows or would take, and the environment."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    (place / ".venv").symlink_to(Path(sys.prefix))
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    return place


@pytest.fixture(scope="session")
def pasted(tmp_path_factory: pytest.TempPathFactory) -> Paste:
    """Pastes a page into a copy of its own, which has the runs of the pages that it needs."""
    done: dict[str, Path] = {}

    def paste(page: str) -> Path:
        if page in done:
            return done[page]
        place = copy_of_the_project(tmp_path_factory.mktemp("copy"))
        for needed in needed_by(ROOT, page):
            shutil.copytree(paste(needed) / "runs", place / "runs", dirs_exist_ok=True)
        # The copy comes before the project that is installed in the environment.
        environment = os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.docs.paste", page]
        said = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]
        done[page] = place
        return place

    return paste


def beside_what_it_needs(page: str) -> ParameterSet:
    """A page, to be pasted by the process that pastes what it needs."""
    group = [page, *needed_by(ROOT, page)][-1]
    return pytest.param(page, marks=pytest.mark.xdist_group(group))


def test_readme_works_as_pasted(pasted):
    place = pasted("README.md")
    assert (place / "report" / "runs" / "modular-addition-s1.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [beside_what_it_needs(page) for page in PASTED if page != "README.md"]
)
def test_a_page_works_as_pasted(pasted, page):
    pasted(page)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_parses(block):
    if block.language == "bash":
        subprocess.run(["bash", "-n", "-c", block.text], check=True)
    else:
        {"python": ast.parse, "toml": tomllib.loads}[block.language](block.text)


def with_marker(name: str) -> list[Block]:
    return [block for block in BLOCKS if name in block.markers]


@pytest.mark.parametrize("block", with_marker("parsed"), ids=str)
def test_a_block_that_is_not_run_says_why(block):
    assert block.markers["parsed"]


@pytest.mark.parametrize("block", with_marker("needs"), ids=str)
def test_what_a_block_needs_is_made_by_a_page_that_is_run(block):
    assert block.markers["needs"] in PASTED


@pytest.mark.parametrize("block", with_marker("ci"), ids=str)
def test_what_is_left_to_ci_is_run_there(block):
    commands = [line.partition("#")[0].strip() for line in block.text.splitlines()]
    assert not [command for command in commands if command not in CI]


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        ("loss 1.21e-06 at step 75", True),
        ("loss 1.1e-06 at step 75", True),
        ("loss 1.4e-06 at step 75", False),
        ("loss 1.2e-06 at step 77", False),
        ("loss -1.2e-06 at step 75", False),
        ("error 1.2e-06 at step 75", False),
        ("loss 1.2e-06", False),
    ],
)
def test_figures_agree_within_a_last_digit(printed, same):
    assert same_figures("loss  1.2e-06\nat step 75\n", printed) is same


def test_lines_of_a_file_go_where_the_page_shows_them():
    file = "import a\n\nALL = {\n    1: a,\n    2: a,\n}\n"
    added = "import b\n\nALL = {\n    # ...\n    2: a,\n    3: b,\n}\n"
    assert (
        with_lines(file, added)
        == "import a\n\nimport b\nALL = {\n    1: a,\n    2: a,\n    3: b,\n}\n"
    )


def test_an_own_task_takes_under_20_lines_to_its_page():
    walk = next(block for block in BLOCKS if block.page == "docs/your-own-task.md")
    lines = walk.text.splitlines()
    assert len(lines) < 20
    assert [
        word
        for line in lines
        for word in ("new", "train", "analyze", "report")
        if f"interp {word} " in line
    ] == ["new", "train", "analyze", "report"]
