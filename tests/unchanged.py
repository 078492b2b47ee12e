"""Whether two versions of the code make the same files: run it with each version's Python.

    OLD/.venv/bin/python tests/unchanged.py make /tmp/old
    NEW/.venv/bin/python tests/unchanged.py make /tmp/new
    python tests/unchanged.py compare /tmp/old /tmp/new

`make` uses the command line alone, on one thread: it trains three runs and two stacks, measures
copies of the fixtures and what it trained with every analysis that applies, and writes pages.
`compare` wants checkpoints, metrics and experiments byte for byte, saved results byte for byte
without their headers, and on each page the same numbers in the same order; words may differ.
"""

import filecmp
import io
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import tomli_w

ROOT = Path(__file__).parents[1]
FIXTURES = ("modular-addition", "in-context-linear", "question-formation-small")
# Presets that are trained for a few steps, with what is changed in them.
SHORTER = {
    "modular-addition-smoke": {},
    "parity": {"steps": 200},
    "factor-labels": {"steps": 60, "evaluate": {"every": 20}, "checkpoints": {"every": 30}},
}
SWEEPS = {
    # A stack of three to its end, and one that replicas leave: some at once, some diverged.
    "stack": {"base": "parity-short.toml", "seeds": 3, "vary": {"training.l1": [1e-4]}},
    "leaving": {
        "base": "parity-short.toml",
        "seeds": 3,
        "vary": {
            "training.lr": [1e-3, 1e-2, 3e-2, 1e30],
            "training.stop": [
                {"metric": "train.accuracy", "at_least": 0.9, "evaluations": 1, "extra_steps": 3}
            ],
        },
    },
}
# Which say when and with what they were written.
PASSING = ("environment.json", "environments.jsonl", "state.safetensors", "events.jsonl")
HEADER = "__header__"
NUMBER = re.compile(r"(?<![\w.#-])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
ADDRESS = re.compile(r"[0-9a-f]{8,}|(?:src|href|id|data-[\w-]+)=\"[^\"]*\"")


def interp(*arguments: str | Path) -> None:
    """Runs a command of the version whose Python runs this script."""
    subprocess.run([sys.executable, "-m", "interp", *map(str, arguments)], check=True)


def make(folder: Path) -> None:
    """Trains, measures and writes pages into an empty folder."""
    folder.mkdir(parents=True)
    for preset, changed in SHORTER.items():
        experiment = tomllib.loads((ROOT / f"interp/presets/{preset}.toml").read_text())
        experiment["training"] |= changed
        path = folder / f"{preset}-short.toml"
        path.write_text(tomli_w.dumps(experiment))
        if preset != "modular-addition-smoke":
            interp("train", path, "--out", folder / "runs" / preset, "--device", "cpu")
    interp("train", "modular-addition-smoke", "--out", folder / "runs" / "smoke", "--device", "cpu")
    for name, sweep in SWEEPS.items():
        (folder / f"{name}.toml").write_text(tomli_w.dumps(sweep))
        options = ("--workers", "1", "--stack", "12", "--device", "cpu")
        interp("sweep", folder / f"{name}.toml", "--out", folder / name, *options)
    for name in FIXTURES:
        copy = folder / "fixtures" / name
        shutil.copytree(ROOT / "fixtures" / name, copy, ignore=shutil.ignore_patterns("results"))
    interp("analyze", folder / "fixtures", folder / "runs", *(folder / name for name in SWEEPS))
    interp("report", folder / "fixtures", folder / "runs", "--out", folder / "pages")
    for name in SWEEPS:
        interp("report", folder / name, "--out", folder / f"{name}-pages")


def compare(old: Path, new: Path) -> list[str]:
    """One line for each file that one version lacks, or that differs."""
    files = {version: _files(version) for version in (old, new)}
    lines = [f"only the old has {path}" for path in sorted(files[old] - files[new])]
    lines += [f"only the new has {path}" for path in sorted(files[new] - files[old])]
    for path in sorted(files[old] & files[new]):
        if not _same(old / path, new / path):
            lines.append(f"{path} differs")
    return lines


def _files(folder: Path) -> set[Path]:
    """Paths below a folder, without those that say when they were written."""
    paths = (path for path in folder.rglob("[!.]*") if path.is_file() and path.name not in PASSING)
    return {path.relative_to(folder) for path in paths if "assets" not in path.parts}


def _same(old: Path, new: Path) -> bool:
    if old.suffix == ".npz":
        return _arrays(old) == _arrays(new)
    if old.suffix == ".html":
        return _numbers(old) == _numbers(new)
    return filecmp.cmp(old, new, shallow=False)


def _arrays(path: Path) -> dict[str, bytes]:
    """What a saved result holds, without its header."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
        return {name: file.read(name) for name in file.namelist() if HEADER not in name}


def _numbers(path: Path) -> list[str]:
    """Numbers on a page in their order, those in addresses aside."""
    return NUMBER.findall(ADDRESS.sub("", path.read_text()))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        differences = compare(Path(sys.argv[2]), Path(sys.argv[3]))
        print("\n".join(differences) or "the same")
        sys.exit(bool(differences))
