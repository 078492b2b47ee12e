"""Write the report of a sweep: its page, which lists every run, and pages of those with results.

    index.html  runs/<run>.html  assets/

A run without saved results has no page: of a thousand, the table and the small multiples tell more.
"""

import warnings
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from analyses.plots.style import DARK
from analyses.plots.views import script_json
from interp.pages.differences import differences
from interp.pages.sweep_page import SweepPage, sweep_page
from interp.pages.write import (
    DRAWN_BY,
    check_file,
    check_out,
    environment,
    page_names,
    readable_runs,
    write_pages,
    write_text,
)
from interp.runs.run import Run
from interp.sweeps.sweep import SweepFolder
from interp.sweeps.table import SweepRuns, fault_of


def write_sweep_report(folder: SweepFolder, out: str | Path, *, single_file: bool = False) -> Path:
    """Writes the report of a sweep, in place of an earlier report.

    Args:
        folder: The sweep.
        out: The report's folder; made where missing. With `single_file`, the HTML file.
        single_file: Writes the sweep's page alone, with all it needs inside.

    Returns:
        The index, `out/index.html`, or the file.

    Raises:
        ValueError: No member has begun, or all that have are damaged (of some, warnings tell), or
            `out` holds something else.
    """
    out = Path(out)
    check_file(out) if single_file else check_out(out)
    members = begun(folder)
    for fault in members.faults:
        warnings.warn(f"a member is left out of the report: {fault}", stacklevel=2)
    runs = list(members.runs)
    pages = [
        (run, name if not single_file and has_results(run) else "")
        for run, name in zip(runs, page_names(runs), strict=True)
    ]
    readable = readable_runs(pages)
    members = replace(members, runs={run: members.runs[run] for run, _ in readable})
    varied = differences(list(members.runs.values()))
    entries = [entry for _, entry in readable]
    page = sweep_page(members, list(zip(entries, varied, strict=True)))
    if page.passed_over:
        warnings.warn(page.passed_over, stacklevel=2)
    if single_file:
        write_text(out, _rendered(page, is_alone=True))
        return out
    write_text(out / "index.html", _rendered(page, is_alone=False))
    write_pages([(run, entry) for run, entry in readable if entry.page], out)
    return out / "index.html"


def begun(folder: SweepFolder) -> SweepRuns:
    """The members whose folders are there and can be read.

    Raises:
        ValueError: There are none.
    """
    every = folder.experiments()
    started = {
        Run(path): each for path, each in every.items() if (path / "experiment.toml").is_file()
    }
    found = {run: fault_of(run) for run in started}
    runs = {run: each for run, each in started.items() if not found[run]}
    faults = tuple(fault for fault in found.values() if fault)
    if not runs:
        none = f"{folder.path}: no member has begun; train them with `interp sweep`"
        raise ValueError("; ".join(faults) or none)
    return SweepRuns(folder, runs, len(every) - len(runs), faults)


def has_results(run: Run) -> bool:
    """Whether anything is saved of a run."""
    return any((run.path / "results").glob("*/*/*.npz"))


def _rendered(page: SweepPage, *, is_alone: bool) -> str:
    kinds = {card.kind for section in page.sections for card in section.cards}
    more = [file for kind, file in DRAWN_BY.items() if kind in kinds]
    return (
        environment()
        .get_template("sweep.html")
        .render(
            page=page,
            root="",
            is_alone=is_alone,
            stamp="",
            files=("plotly.min.js", *more, "report.js", "index.js"),
            dark=Markup(script_json(DARK)),
        )
    )
