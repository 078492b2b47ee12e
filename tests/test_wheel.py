"""What is installed from a wheel, outside of the checkout, works: nothing is missing in it."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.planted import tiny_experiment

ROOT = Path(__file__).parents[1]
PACKAGES = ("interp", "hooks", "analyses")
SCRIPTS = "Scripts" if os.name == "nt" else "bin"


def run(*words, cwd):
    """Runs a program that knows nothing of the checkout; what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    run(sys.executable, "-c", code, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory):
    """Where programs of an environment are, which has the wheel and shares all other packages."""
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / SCRIPTS / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(python, "-c", code, cwd=folder).strip())
    # A bare path: the links to this checkout that are among the shared packages are not followed.
    (own / "shared.pth").write_text(sysconfig.get_path("purelib"))
    install = ("install", "--quiet", "--no-deps", "--no-index", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    return folder / SCRIPTS


def test_the_wheel_holds_the_packages_with_all_their_files_and_nothing_else(wheel):
    here = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as content:
        there = {name for name in content.namelist() if ".dist-info/" not in name}
    assert there == here
    assert {Path(name).suffix for name in there} >= {".py", ".toml", ".html", ".css", ".js"}


def test_it_trains_analyses_and_reports_outside_of_the_checkout(program, tmp_path):
    (tmp_path / "tiny.toml").write_text(tiny_experiment(steps=10).to_toml())
    out = run(program / "interp", "train", "tiny.toml", "--out", "run", cwd=tmp_path)
    assert out.endswith("trained run: 2 checkpoints, the last at 10\n")
    code = (
        "import interp, analyses, hooks, json; from interp.presets import preset_names\n"
        "run = interp.load('run')\n"
        "interp.analyze(run)\n"
        "index = interp.report([run], 'report')\n"
        "preset = interp.load_experiment('modular-addition').name\n"
        "print(json.dumps([str(index), preset, preset_names('sweeps'),\n"
        "                  [package.__file__ for package in (interp, analyses, hooks)]]))"
    )
    index, preset, sweeps, files = json.loads(run(program / "python", "-c", code, cwd=tmp_path))
    assert preset == "modular-addition"
    assert len(sweeps) == len(list((ROOT / "interp/presets/sweeps").glob("*.toml")))
    assert not [file for file in files if Path(file).is_relative_to(ROOT)]
    page = (tmp_path / Path(index).parent / "runs" / "run.html").read_text()
    assert "Fourier spectrum" in page
