"""Write a report on runs or on a sweep: a folder of pages, or one page to send.

    index.html  runs/<run>.html  assets/*.{js,css}

Pages open from disk without a network. The index of a sweep is a page about all its runs. A run of
a sweep has a page of its own only if results of it are saved: of a thousand runs, the sweep's table
and small panels say more. No analysis is known by name here.

The same runs give the same bytes. A page carries a hash of everything that it was made from, and is
left as it is if it carries the hash that its run has now. The hash is of bytes, not of times and
sizes, so that copying a run changes no page, but changing a byte of it does. Checkpoints count too,
since a page shows only results that belong to the present checkpoints.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from html import unescape
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import analyses
import hooks
import interp
from analyses.plots.figures import plotly_script
from analyses.plots.style import DARK
from analyses.plots.views import HEAD_BYTES, OWN, bundle, head_holds, own_script, script_json
from interp.pages.page import run_page, sweep_page
from interp.pages.recipe import json_table
from interp.pages.scatter import scatter_of_runs
from interp.pages.sections import Section, caption
from interp.pages.tables import (
    Overview,
    differences,
    overview,
    setting_texts,
    shared,
    shown,
    sparkline,
)
from interp.runs.run import Run, check_run
from interp.runs.safe_files import is_temporary, write_whole
from interp.sweeps.sweep import SweepFolder, SweepRuns, fault_of

HERE = Path(__file__).parent
DESCRIPTION = re.compile(r'<meta name="description" content="([^"]*)">')
GENERATOR = '<meta name="generator" content="interp report">'  # marks every page of a report
# Each script and stylesheet, and the function that reads it.
ASSETS: dict[str, Callable[[], str]] = {
    "plotly.min.js": plotly_script,
    "circuitsvis.js": bundle,
    "own.js": lambda: "".join(map(own_script, OWN)),
    "report.js": lambda: _asset_text("report.js"),
    "index.js": lambda: _asset_text("index.js"),
    "style.css": lambda: _asset_text("style.css"),
}

SCRIPTS = {"view": "circuitsvis.js", "own": "own.js"}  # for each kind of card, what draws it
RUN_FILES = ("experiment.toml", "metrics.jsonl", "environment.json", "imported.json")
LIBRARIES = ("circuitsvis", "interp", "jinja2", "plotly")


def write_report(runs: Sequence[Run], out: str | Path, *, single_file: bool = False) -> Path:
    """Writes the report of some runs into a folder, in place of an earlier report.

    Args:
        runs: Runs to report, in the order of the index.
        out: The folder; made where missing. With `single_file`, the HTML file.
        single_file: Writes one file that holds a run's page and everything it needs, to be sent. It
            holds one run, since a file with the figures of a hundred runs would open in no browser.

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
    if single_file and len(runs) > 1:
        raise ValueError(
            f"a single file holds one run, {len(runs)} were named; name one of them, or write "
            "a folder and send it as an archive"
        )
    out = Path(out)
    if single_file:
        check_file(out)
        update_page(out, runs[0], overview(runs[0], out.name), program_hash(), "alone")
        return out
    check_out(out)
    readable = readable_runs(list(zip(runs, page_names(runs), strict=True)))
    entries = [entry for _, entry in readable]
    varied = differences(
        [run.experiment for run, _ in readable], without=("task.name", "model.kind")
    )
    rows = list(zip(entries, map(setting_texts, varied), strict=True))
    dots = scatter_of_runs(list(zip(entries, varied, strict=True))) if len(rows) > 2 else ""
    files = (*(["plotly.min.js"] if dots else []), "index.js")
    facts: dict[str, Any] = {"rows": rows, "shared": shared(entries), "files": files, "dots": dots}
    said = write_pages(readable, out)
    write_text(out / "index.html", rendered("index.html", said=said, **facts))
    return out / "index.html"


def write_sweep_report(folder: SweepFolder, out: str | Path, *, single_file: bool = False) -> Path:
    """Writes the report of a sweep, in place of an earlier report.

    Args:
        folder: The sweep.
        out: The report's folder; made where missing. With `single_file`, the HTML file.
        single_file: Writes the sweep's page alone, with all it needs inside.

    Returns:
        The index, `out/index.html`, or the file.

    Raises:
        ValueError: No run has begun, or all that have are damaged (damaged runs among others are
            named by warnings), or `out` holds something else.
    """
    out = Path(out)
    check_file(out) if single_file else check_out(out)
    begun = begun_runs(folder)
    for fault in begun.faults:
        warnings.warn(f"a run is left out of the report: {fault}", stacklevel=2)
    runs = list(begun.runs)
    pages = [
        (run, name if not single_file and any((run.path / "results").glob("*/*/*.npz")) else "")
        for run, name in zip(runs, page_names(runs), strict=True)
    ]
    readable = readable_runs(pages)
    shown_runs = replace(begun, runs={run: begun.runs[run] for run, _ in readable})
    varied = differences(list(shown_runs.runs.values()))
    page = sweep_page(shown_runs, list(zip([entry for _, entry in readable], varied, strict=True)))
    if page.passed_over:
        warnings.warn(page.passed_over, stacklevel=2)
    place = out if single_file else out / "index.html"
    files = (*scripts_of(page.sections), "index.js")
    write_text(place, rendered("sweep.html", page=page, is_alone=single_file, files=files))
    if not single_file:
        write_pages([(run, entry) for run, entry in readable if entry.page], out)
    return place


def begun_runs(folder: SweepFolder) -> SweepRuns:
    """The runs of a sweep whose folders are there and can be read.

    Raises:
        ValueError: There are none.
    """
    experiments = folder.experiments()
    begun = [Run(path) for path in experiments if (path / "experiment.toml").is_file()]
    faults = {run: fault for run in begun if (fault := fault_of(run))}
    runs = {run: experiments[run.path] for run in begun if run not in faults}
    if not runs:
        raise ValueError(
            "; ".join(faults.values())
            or f"{folder.path}: no run has begun; train them with `interp sweep`"
        )
    return SweepRuns(folder, runs, len(experiments) - len(runs), tuple(faults.values()))


def readable_runs(pages: Sequence[tuple[Run, str]]) -> list[tuple[Run, Overview]]:
    """The runs that can be read, each with its line of the index; warnings name the others.

    Args:
        pages: Runs, and the file name of each run's page.

    Raises:
        ValueError: None can be read; the message is about the first.
    """
    readable, faults = [], []
    for run, page in pages:
        try:
            entry = overview(run, page)
            for name in ("environment.json", "imported.json"):  # its page reads these
                json_table(run, name)
        except (ValueError, FileNotFoundError) as error:
            faults.append(error)
        else:
            readable.append((run, entry))
    if not readable:
        raise faults[0]
    for error in faults:
        warnings.warn(f"a run is left out of the report: {error}", stacklevel=3)
    return readable


def write_pages(entries: Sequence[tuple[Run, Overview]], out: Path) -> dict[str, str]:
    """Writes the pages of runs and the assets they need; removes pages of an earlier report.

    Returns:
        The first headline of each page, by its name.
    """
    for name, read in ASSETS.items():
        write_text(out / "assets" / name, read())
    program, said = program_hash(), {}
    for run, entry in entries:
        said[entry.page] = update_page(out / "runs" / entry.page, run, entry, program, "folder")
    present = {entry.page for _, entry in entries}
    for page in (out / "runs").glob("*.html"):  # of an earlier report, about other runs
        if page.name not in present and head_holds(page, GENERATOR):
            page.unlink()
    return said


def update_page(page: Path, run: Run, entry: Overview, program: str, place: str) -> str:
    """Writes a run's page, unless the page that is there is still right; its first headline.

    A page that leaves out some of the saved results carries no hash, so that it is made again, and
    the warning that names them is given again, each time.
    """
    inputs = page_hash(run, entry, program, place)
    mark = f'<meta name="interp-report-inputs" content="{inputs}">'
    if head_holds(page, mark):
        return description_of(page)
    content = run_page(run, entry)
    said = content.headlines[0].text if content.headlines else ""
    if content.passed_over:
        warnings.warn(content.passed_over, stacklevel=2)
    write_text(
        page,
        rendered(
            "run.html",
            page=content,
            root="../",
            is_alone=place == "alone",
            stamp="" if content.passed_over else Markup(mark),
            description=said,
            files=scripts_of(content.sections),
        ),
    )
    return said


def description_of(page: Path) -> str:
    """What a page says of itself in its head."""
    with page.open("rb") as file:
        match = DESCRIPTION.search(file.read(HEAD_BYTES).decode(errors="ignore"))
    return unescape(match[1]) if match else ""


def scripts_of(sections: Sequence[Section]) -> tuple[str, ...]:
    """The scripts that draw the figures of a page."""
    kinds = {card.kind for section in sections for card in (*section.cards, *section.more)}
    drawers = [file for kind, file in SCRIPTS.items() if kind in kinds]
    return ("plotly.min.js", *drawers, "report.js")


def rendered(
    template: str,
    *,
    files: Sequence[str],
    root: str = "",
    is_alone: bool = False,
    stamp: str = "",
    description: str = "",
    **content: Any,
) -> str:
    """A page as HTML.

    Args:
        template: The name of its template.
        files: The scripts that it needs.
        root: The way from the page's folder to that of the index.
        is_alone: Whether scripts and styles stand inside the page.
        stamp: The element that says what the page was made from.
        description: What the page says of itself.
        content: The template's other variables.
    """
    variables = {"files": files, "root": root, "is_alone": is_alone, "stamp": stamp}
    variables |= {"description": description} | content
    return environment().get_template(template).render(variables, dark=Markup(script_json(DARK)))


def check_file(out: Path) -> None:
    """Refuses a file that is something other than a page of a report.

    Raises:
        ValueError: It is.
    """
    if out.exists() and not head_holds(out, GENERATOR):
        raise ValueError(f"{out} is something other than a report; choose another file")


def check_out(out: Path) -> None:
    """Refuses a place that holds something other than a report.

    Raises:
        ValueError: It is a file, or a folder with other things in it.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose a folder for the report")
    if out.is_dir() and not head_holds(out / "index.html", GENERATOR) and not is_cut_short(out):
        raise ValueError(f"{out} holds something other than a report; choose another folder")


def is_cut_short(out: Path) -> bool:
    """Whether a folder holds no more than a report whose index was not yet written."""
    pages, assets = list(out.glob("runs/*")), list(out.glob("assets/*"))
    return (
        all(is_temporary(each) or each.name in ("runs", "assets") for each in out.iterdir())
        and all(is_temporary(page) or head_holds(page, GENERATOR) for page in pages)
        and all(is_temporary(asset) or asset.name in ASSETS for asset in assets)
    )


def page_names(runs: Sequence[Run]) -> list[str]:
    """A file name for each run's page: the run's name, made safe, and numbered where it repeats."""
    names: dict[str, str] = {}  # by the name in lower case, which may come once
    for run in runs:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-.")[:80] or "run"
        candidates = chain([stem], (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in candidates if name.lower() not in names)
        names[name.lower()] = f"{name}.html"
    return list(names.values())


@cache
def environment() -> Environment:
    """The templates, each compiled once, and the functions that they may call."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(shown=shown, caption=caption, sparkline=sparkline, breakable=breakable)
    templates.globals.update(generator=Markup(GENERATOR), asset=_asset)
    return templates


def breakable(name: str) -> Markup:
    """A name in which a line may break after each underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _asset(name: str) -> Markup:
    """A script or stylesheet as it may stand inside a page."""
    return Markup(ASSETS[name]().replace("</script", "<\\/script"))


def _asset_text(name: str) -> str:
    return (HERE / "assets" / name).read_text("utf-8")


def write_text(path: Path, content: str) -> None:
    """Writes a file, unless it has this content already."""
    data = content.encode("utf-8", errors="replace")
    if not path.is_file() or path.read_bytes() != data:
        write_whole(path, data, durable=False)


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
    data_files = {} if run.experiment.missing else run.experiment.task.data_files
    for file in map(Path, data_files.values()):
        digest.update(file.read_bytes())
    for file in [*(run.path / name for name in RUN_FILES), *checkpoints, *results]:
        if file.is_file():
            _add(digest, file, run.path)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", file: Path, root: Path) -> None:
    """Adds a file with its name and length, so that different sets of files have other hashes."""
    content = file.read_bytes()
    digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
    digest.update(content)
