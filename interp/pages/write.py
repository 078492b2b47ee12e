"""Write a report: a folder of pages that open from disk with no network, or one page to send.

    index.html  runs/<run>.html  assets/*.{js,css}

The same runs give the same bytes, and a page whose run has not changed is not made again. Nothing
here knows what an analysis is about.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analyses.plots.figures import plotly_script
from analyses.plots.style import DARK
from analyses.plots.views import OWN, bundle, own_script, script_json
from interp.pages.captions import caption
from interp.pages.curve import sparkline
from interp.pages.differences import differences, told
from interp.pages.page import run_page
from interp.pages.recipe import json_table
from interp.pages.stamp import is_current, page_hash, program_hash, stamp
from interp.pages.tables import Overview, overview, shared, shown
from interp.runs.files import is_temporary, write_whole
from interp.runs.run import Run, check_run

HERE = Path(__file__).parent
MARK = '<meta name="generator" content="interp report">'
# Each script and stylesheet with what reads it.
ASSETS: dict[str, Callable[[], str]] = {
    "plotly.min.js": plotly_script,
    "circuitsvis.js": bundle,
    "own.js": lambda: "".join(map(own_script, OWN)),
    "report.js": lambda: _own("report.js"),
    "index.js": lambda: _own("index.js"),
    "style.css": lambda: _own("style.css"),
}

DRAWN_BY = {"view": "circuitsvis.js", "own": "own.js"}  # by kind of card


def write_report(runs: Sequence[Run], out: str | Path, *, single_file: bool = False) -> Path:
    """Writes the report of some runs into a folder, in place of an earlier report.

    Args:
        runs: Runs to report, in the order of the index.
        out: The folder; made where missing. With `single_file`, the HTML file.
        single_file: Writes `write_page` instead; of one run, since a page holds its own scripts
            and figures, and a hundred of them would open in no browser.

    Returns:
        The index, `out/index.html`, or the file.

    Raises:
        TypeError: `runs` is something other than a list of runs.
        ValueError: There are no runs, all of them are damaged, `out` holds something else, or
            several runs are to go into a single file.
        FileNotFoundError: The CircuitsVis bundle is not installed.
    """
    if isinstance(runs, str | Path) or not isinstance(runs, Sequence):
        raise TypeError(
            f"a report takes a list of runs, [interp.load(FOLDER)]; got a {type(runs).__name__}"
        )
    for run in runs:
        check_run(run, "a report")
    if not runs:
        raise ValueError("a report needs at least one run; name run folders")
    if single_file:
        if len(runs) > 1:
            raise ValueError(
                f"a single file holds one run, {len(runs)} were named; name one of them, or write "
                "a folder and send it as an archive"
            )
        return write_page(runs[0], out)
    return _write_folder(runs, Path(out))


def write_page(run: Run, out: str | Path) -> Path:
    """Writes one file that holds a run's page and everything it needs, to be sent.

    Args:
        run: The run.
        out: The HTML file; an earlier one is replaced.

    Raises:
        ValueError: The run is damaged, or `out` is something other than such a page.
        FileNotFoundError: The CircuitsVis bundle is not installed.
    """
    out = Path(out)
    check_file(out)
    update_page(out, run, overview(run, out.name), program_hash(), "alone")
    return out


def _write_folder(runs: Sequence[Run], out: Path) -> Path:
    check_out(out)
    readable = readable_runs(list(zip(runs, page_names(runs), strict=True)))
    entries = [entry for _, entry in readable]
    experiments = [run.experiment for run, _ in readable]
    varied = differences(experiments, without=("task.name", "model.kind"))
    index = (
        environment()
        .get_template("index.html")
        .render(
            rows=list(zip(entries, map(told, varied), strict=True)),
            shared=shared(entries),
            root="",
            is_alone=False,
            stamp="",
            files=("index.js",),
        )
    )
    write_text(out / "index.html", index)
    write_pages(readable, out)
    return out / "index.html"


def readable_runs(pages: Sequence[tuple[Run, str]]) -> list[tuple[Run, Overview]]:
    """Each run that can be read, in one line; a warning names each other.

    Args:
        pages: Runs, and the file name of each one's page.

    Raises:
        ValueError: None can be read; the message is about the first.
    """
    found, faults = [], []
    for run, page in pages:
        try:
            entry = overview(run, page)
            for name in ("environment.json", "imported.json"):  # which its page reads
                json_table(run, name)
        except (ValueError, FileNotFoundError) as error:
            faults.append(error)
        else:
            found.append((run, entry))
    if not found:
        raise faults[0]
    for error in faults:
        warnings.warn(f"a run is left out of the report: {error}", stacklevel=3)
    return found


def write_pages(entries: Sequence[tuple[Run, Overview]], out: Path) -> None:
    """Writes the pages of runs, and what they need; removes those of an earlier report."""
    for name, read in ASSETS.items():
        write_text(out / "assets" / name, read())
    program = program_hash()
    for run, entry in entries:
        update_page(out / "runs" / entry.page, run, entry, program, "folder")
    remove_others(out, {entry.page for _, entry in entries})


def update_page(page: Path, run: Run, entry: Overview, program: str, place: str) -> None:
    """Writes a run's page, unless it stands there already.

    A page without some of the saved results, of which a warning tells, carries no hash: it is made
    again each time, and the warning is given each time.
    """
    digest = page_hash(run, entry, program, place)
    if is_current(page, digest):
        return
    made = run_page(run, entry)
    if made.passed_over:
        warnings.warn(made.passed_over, stacklevel=2)
    views = [file for kind, file in DRAWN_BY.items() if kind in made.kinds]
    content = (
        environment()
        .get_template("run.html")
        .render(
            page=made,
            root="../",
            is_alone=place == "alone",
            stamp="" if made.passed_over else Markup(stamp(digest)),
            files=("plotly.min.js", *views, "report.js"),
            dark=Markup(script_json(DARK)),
        )
    )
    write_text(page, content)


def check_file(out: Path) -> None:
    """Refuses a file that is something other than a page of a report.

    Raises:
        ValueError: It is.
    """
    if out.exists() and not (out.is_file() and is_ours(out)):
        raise ValueError(f"{out} is something other than a report; choose another file")


def check_out(out: Path) -> None:
    """Refuses a place that holds something other than a report.

    Raises:
        ValueError: It is a file, or a folder with other things in it.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose a folder for the report")
    # A temporary file is all that is there where the first of its files was cut short.
    others = out.is_dir() and not all(map(is_temporary, out.iterdir()))
    if others and not is_ours(out / "index.html"):
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


@cache
def environment() -> Environment:
    """Templates, each compiled once, with what they may call."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(shown=shown, caption=caption, sparkline=sparkline, breakable=breakable)
    made.globals.update(generator=Markup(MARK), asset=_asset)
    return made


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _asset(name: str) -> Markup:
    """A script or stylesheet as it may stand inside a page."""
    return Markup(ASSETS[name]().replace("</script", "<\\/script"))


def _own(name: str) -> str:
    return (HERE / "assets" / name).read_text("utf-8")


def write_text(path: Path, content: str) -> None:
    """Writes a file, unless it holds just that already."""
    data = content.encode("utf-8", errors="replace")
    if not path.is_file() or path.read_bytes() != data:
        write_whole(path, data, durable=False)


def is_ours(page: Path) -> bool:
    """Whether a report wrote a page."""
    return page.is_file() and MARK in page.read_text("utf-8", errors="replace")[:2000]


def remove_others(out: Path, pages: set[str]) -> None:
    """Removes the pages that an earlier report left for runs which are not in this one."""
    for page in (out / "runs").glob("*.html"):
        if page.name not in pages and is_ours(page):
            page.unlink()
