"""Runs analysed, imported and reported, and a warmed process that runs commands."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from analyses import ExampleViews
from interp.importers import import_run
from interp.measure.analyze import analyze
from interp.runs.results import read_header, saved, write_result
from interp.runs.run import Run
from tests.foreign import TASK
from tests.interp.pages.browser import INSTALL, PROGRAM, Browser, Tab, offline_browser

ROOT = Path(__file__).parents[2]
HOSTILE_WORDS = ("</script>", "<bos>", "<img src=x onerror=\"document.title='owned'\">")

Save = Callable[..., Path]
Imported = Callable[..., Run]
Command = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def analysed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny run with everything measured."""
    path = shutil.copytree(run.path, tmp_path_factory.mktemp("report") / "tiny")
    analyze(Run(path))
    return Run(path)


@pytest.fixture
def analysed_folder(analysed: Run, tmp_path: Path) -> Path:
    """A copy of the measured run, to be damaged."""
    return shutil.copytree(analysed.path, tmp_path / "copy")


@pytest.fixture(scope="session")
def hostile_run(analysed: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose name and saved examples hold what looks like markup."""
    place = tmp_path_factory.mktemp("hostile")
    run = Run(shutil.copytree(analysed.path, place / "<svg onload=alert(1)>"))
    (each,) = [each for each in saved(run) if each.cls is ExampleViews]
    last = each.load()
    assert isinstance(last, ExampleViews)
    words = tuple(HOSTILE_WORDS for _ in last.words)
    write_result(each.file(), replace(last, words=words), read_header(each.file()))
    return run


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves something as other code would, in the folder `given`; where it is."""

    def save(content: Any, name: str = "step_100.pt") -> Path:
        path = tmp_path / "given" / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".json":
            path.write_text(json.dumps(content))
        elif path.suffix == ".safetensors":
            save_file(content, path)
        elif path.suffix == ".npz":
            np.savez(path, **content)
        else:
            torch.save(content, path)
        return path

    return save


@pytest.fixture
def imported(save: Save, tmp_path: Path) -> Imported:
    """Saves something as other code would, and imports it into the folder `run`."""

    def imported(
        content: Any,
        name: str = "step_100.pt",
        *,
        task: Any = TASK,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        **others: Any,
    ) -> Run:
        return import_run(save(content, name), tmp_path / "run", task, options, seed, **others)

    return imported


@pytest.fixture(scope="session")
def command() -> Iterator[Command]:
    """Runs `interp ARGUMENTS` in a child of `reliability.mishaps`, with a mishap if one is given.

    Mishaps: `operation` and `part` (killed there; with `stops`, stopped, until `go_on` names it),
    `file_size` (no file grows beyond it), `read_only` (a folder).
    """
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.interp.reliability.mishaps"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = server.stdin, server.stdout
    assert stdin is not None
    assert stdout is not None

    def ask(*arguments: str | Path, **mishap: Any) -> dict[str, Any]:
        print(json.dumps(mishap | {"arguments": list(map(str, arguments))}), file=stdin, flush=True)
        return json.loads(stdout.readline())

    yield ask
    stdin.close()
    server.wait()
    stdout.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium without a network."""
    if PROGRAM is None:
        pytest.skip(INSTALL)
    with offline_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """An empty tab."""
    opened = Tab(browser, 1280, 900)
    yield opened
    opened.close()
