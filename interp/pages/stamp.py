"""What a page was made from, as a hash that the page itself carries.

A page whose hash is that of its run now is left as it is. The hash is of bytes, not of times and
sizes: copying a run changes no page, changing a byte of it does. The checkpoints are among them,
for a page shows those results alone that are of today's checkpoints.
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

FILES = ("experiment.toml", "metrics.jsonl", "environment.json", "imported.json")
DRAWN_WITH = ("circuitsvis", "interp", "jinja2", "plotly")
READ = 2000  # bytes of a page that hold its head


def program_hash() -> str:
    """A hash of everything that draws: these packages' own files, and the libraries' versions."""
    digest = hashlib.sha256(json.dumps([version(name) for name in DRAWN_WITH]).encode())
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
        overview: Its line of the index, which stands on the page too.
        program: What `program_hash` says.
        place: Where the page stands: in a folder, or alone.
    """
    digest = hashlib.sha256(json.dumps([program, place, asdict(overview)]).encode())
    results = sorted((run.path / "results").rglob("*.npz"))
    checkpoints = [run.checkpoint(step) for step in run.steps] if results else []
    task_files = map(Path, run.experiment.task.data_files.values())
    for file in task_files:
        digest.update(file.read_bytes())
    for file in [*(run.path / name for name in FILES), *checkpoints, *results]:
        if file.is_file():
            _add(digest, file, run.path)
    return digest.hexdigest()


def stamp(digest: str) -> str:
    """The element that carries a page's hash."""
    return f'<meta name="interp-report-inputs" content="{digest}">'


def is_current(page: Path, digest: str) -> bool:
    """Whether a page carries a hash."""
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return stamp(digest).encode() in file.read(READ)


def _add(digest: "hashlib._Hash", file: Path, root: Path) -> None:
    """Adds a file with its name and length, so that no two sets of files look alike."""
    content = file.read_bytes()
    digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
    digest.update(content)
