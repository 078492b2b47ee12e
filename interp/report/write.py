"""Write a report: a folder of pages that open from disk with no network.

    index.html  runs/<run>.html  assets/{plotly.min.js,circuitsvis.js,style.css,report.js}

The same runs give the same bytes. Nothing here knows what an analysis is about.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analyses.plots import plotly_script, words
from analyses.views import bundle
from interp.report.page import run_page
from interp.report.tables import overview, shown
from interp.run import Run, write_whole

HERE = Path(__file__).parent
MARK = '<meta name="generator" content="interp report">'


def write_report(runs: Sequence[Run], out: str | Path) -> Path:
    """Writes the report of some runs into a folder, in place of an earlier report.

    Args:
        runs: Runs to report, in the order of the index.
        out: The folder; made where missing.

    Returns:
        The index, `out/index.html`.

    Raises:
        ValueError: There are no runs, a run is damaged, or `out` holds something else.
        FileNotFoundError: The CircuitsVis bundle is not installed.
    """
    out = Path(out)
    if not runs:
        raise ValueError("a report needs at least one run; name run folders")
    check_out(out)
    entries = [overview(run, page) for run, page in zip(runs, page_names(runs), strict=True)]
    environment, scripts = _environment(), _assets()
    index = environment.get_template("index.html").render(entries=entries, root="")
    _write(out / "index.html", index)
    for name, content in scripts.items():
        _write(out / "assets" / name, content)
    for run, entry in zip(runs, entries, strict=True):
        page = environment.get_template("run.html").render(page=run_page(run, entry), root="../")
        _write(out / "runs" / entry.page, page)
    _remove_others(out, {entry.page for entry in entries})
    return out / "index.html"


def check_out(out: Path) -> None:
    """Refuses a place that holds something other than a report.

    Raises:
        ValueError: It is a file, or a folder with other things in it.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose a folder for the report")
    if out.is_dir() and any(out.iterdir()) and not _is_ours(out / "index.html"):
        raise ValueError(f"{out} holds something other than a report; choose another folder")


def page_names(runs: Sequence[Run]) -> list[str]:
    """A file name for each run's page: its own name, made safe, and numbered where it repeats."""
    names: list[str] = []
    taken: set[str] = set()
    for run in runs:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-.")[:80] or "run"
        name, count = stem, 1
        while name.lower() in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name.lower())
        names.append(f"{name}.html")
    return names


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(shown=shown, words=words)
    environment.globals["generator"] = Markup(MARK)
    return environment


def _assets() -> dict[str, str]:
    own = {name: (HERE / "assets" / name).read_text("utf-8") for name in ("report.js", "style.css")}
    return own | {"circuitsvis.js": bundle(), "plotly.min.js": plotly_script()}


def _write(path: Path, content: Any) -> None:
    write_whole(path, content.encode("utf-8", errors="replace"))


def _is_ours(page: Path) -> bool:
    return page.is_file() and MARK in page.read_text("utf-8", errors="replace")[:2000]


def _remove_others(out: Path, pages: set[str]) -> None:
    """Removes the pages that an earlier report left for runs which are not in this one."""
    for page in (out / "runs").glob("*.html"):
        if page.name not in pages and _is_ours(page):
            page.unlink()
