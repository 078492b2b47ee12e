"""A hash of everything that a page was made from, which the page itself carries.

A page is left as it is if it carries the hash that its run has now. The hash is of bytes, not of
times and sizes, so that copying a run changes no page, but changing a byte of it does. Checkpoints
count too, since a page shows only results that belong to the present checkpoints.
"""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import analyses
import hooks
import interp
from interp.pages.tables import Overview
from interp.runs.run import Run

RUN_FILES = ("experiment.toml", "metrics.jsonl", "environment.json", "imported.json")
LIBRARIES = ("circuitsvis", "interp", "jinja2", "plotly")
HEAD_BYTES = 2000  # bytes of a page among which its hash stands


def program_hash() -> str:
    """A hash of the program that draws pages: these packages' files, and libraries' versions."""
    digest = hashlib.sha256(json.dumps([version(name) for name in LIBRARIES]).encode())
    for package in (hooks, analyses, interp):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.*")):
            if file.suffix in (".py", ".html", ".js", ".css"):
                _add(digest, file, root)
    return digest.hexdigest()


def page_hash(run: Run, overview: Overview, program: str, place: str) -> str:
    """A hash of everything on a run's page.

    Args:
        run: The run.
        overview: The run's line of the index, which stands on the page too.
        program: The hash of the program (`program_hash`).
        place: Whether the page is one of a folder ("folder"), or a single file ("alone").
    """
    digest = hashlib.sha256(json.dumps([program, place, asdict(overview)]).encode())
    results = sorted((run.path / "results").rglob("*.npz"))
    checkpoints = [run.checkpoint(step) for step in run.steps] if results else []
    task_files = map(Path, run.experiment.task.data_files.values())
    for file in task_files:
        digest.update(file.read_bytes())
    for file in [*(run.path / name for name in RUN_FILES), *checkpoints, *results]:
        if file.is_file():
            _add(digest, file, run.path)
    return digest.hexdigest()


def stamp(digest: str) -> str:
    """The element of a page that carries its hash."""
    return f'<meta name="interp-report-inputs" content="{digest}">'


def is_current(page: Path, digest: str) -> bool:
    """Whether a page is there and carries a hash."""
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return stamp(digest).encode() in file.read(HEAD_BYTES)


def _add(digest: "hashlib._Hash", file: Path, root: Path) -> None:
    """Adds a file with its name and length, so that different sets of files have other hashes."""
    content = file.read_bytes()
    digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
    digest.update(content)
