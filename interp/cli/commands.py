"""The command line: parse, call one function, say what was written.

Nothing heavy is imported before a command runs, so that `interp --help` answers at once.
"""

import gc
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from interp.cli import training_commands
from interp.cli.training_commands import Device, Threads, set_threads

INTERRUPTED = 130  # what the parser ends with after Ctrl-C
OUT_OF_MEMORY = re.compile(
    r"you tried to allocate \d+ bytes|Tried to allocate [\d.]+ \w+"
    r"|Storage size calculation overflowed with sizes=[^\n]*"
)
TOO_LITTLE_MEMORY = (
    "there is too little memory: end other programs, or take a smaller model, batch or stack"
)

app = typer.Typer(
    help="Train small transformers on tasks whose answer is known; measure when structure appears.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Paths = Annotated[
    list[Path], typer.Argument(help="Run folders, folders that hold run folders, or sweeps.")
]


app.command(epilog="Example: interp demo --out runs/demo")(training_commands.demo)
app.command(epilog="Example: interp train modular-addition --out runs/addition --seed 1")(
    training_commands.train
)
app.command(epilog="Example: interp sweep parity-l1 --out runs/l1 --dry-run")(
    training_commands.sweep
)


app.command(epilog="Example: interp construct constructed-circle")(training_commands.construct)


@app.command(epilog="Example: interp analyze runs/demo --only FourierSpectrum")
def analyze(
    paths: Paths,
    only: Annotated[
        list[str] | None, typer.Option(help="An analysis by name; may be given several times.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
) -> None:
    """Measure runs and sweeps with every analysis that applies; save what is not saved yet."""
    set_threads(threads)
    from interp.cli.progress import spinner
    from interp.measure.sweep import analyze_folder
    from interp.sweeps.sweep import find_folders

    failed = []
    for folder in find_folders(paths):
        try:
            with spinner(f"{folder.path.name}: {{place}}") as show:
                names = only or None
                outcomes = analyze_folder(
                    folder, names, device=device, on_place=lambda now: show(place=now)
                )
        except ValueError as error:  # the other runs are still measured
            failed.append(str(error))
            continue
        for each in outcomes:
            what = each.reason or f"{each.measured} measured, {each.kept} kept"
            typer.echo(f"{folder.path}  {each.name}: {what}")
    if failed:
        raise ValueError("; ".join(failed))


@app.command(epilog="Example: interp report runs/ --out report")
def report(
    paths: Paths,
    out: Annotated[
        Path | None, typer.Option(help="Folder, or file; report or RUN.html by default.")
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="One page about one run or sweep, to be sent.")
    ] = False,
) -> None:
    """Write pages about runs, or a sweep, from saved results; they open without a network."""
    from interp.pages import write_report, write_sweep_report
    from interp.runs.run import Run
    from interp.sweeps.sweep import find_folders

    gc.freeze()  # what was imported stays: no collection need look through it again
    found = find_folders(paths)
    place = out or Path(f"{found[0].path.resolve().name}.html" if single_file else "report")
    runs = [each for each in found if isinstance(each, Run)]
    sweeps = [each for each in found if not isinstance(each, Run)]
    if sweeps and len(found) > 1:
        raise ValueError("a report is of runs or of one sweep: name the sweep's folder alone")
    if sweeps:
        index = write_sweep_report(sweeps[0], place, single_file=single_file)
    else:
        index = write_report(runs, place, single_file=single_file)
    typer.echo(f"wrote {index}")


@app.command("import", epilog="Example: interp import grok.pth --out runs/g --task task.toml")
def import_(
    source: Annotated[Path, typer.Argument(help="A .pt, .pth or .safetensors file, or a folder.")],
    out: Annotated[Path, typer.Option(help="Run folder; missing or empty.")],
    task: Annotated[
        str | None, typer.Option(help="What it was trained on: a TOML file or a preset's name.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Options of HookedTransformerConfig: JSON, TOML or .pt.")
    ] = None,
    act_fn: Annotated[str | None, typer.Option(help="The MLP's activation, such as relu.")] = None,
    normalization_type: Annotated[str | None, typer.Option(help="none, LNPre or LN.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Data seed: draws a split that nothing states.")
    ] = 0,
) -> None:
    """Turn checkpoints of other code into a run folder, reading nothing that could run."""
    from interp.importers import describe, import_run, user_options

    options = user_options(config, act_fn=act_fn, normalization_type=normalization_type)
    typer.echo(describe(import_run(source, out, task, options, seed)))


@app.command(epilog="Example: interp show runs/demo --step 0 --out attention.html")
def show(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    step: Annotated[int | None, typer.Option(help="A kept step; the last by default.")] = None,
    split: Annotated[str | None, typer.Option(help="A split of the task.")] = None,
    out: Annotated[Path, typer.Option(help="HTML file.")] = Path("attention.html"),
) -> None:
    """Write attention and tokens of a snapshot's first examples to one offline page."""
    from interp.pages.show import show as show_snapshot
    from interp.runs.run import load

    typer.echo(f"wrote {show_snapshot(load(run).snapshot(step, split, 8)).save(out)}")


@app.command(epilog="Example: interp tasks")
def tasks() -> None:
    """List the tasks."""
    from interp.tasks import TASKS

    _list({name: task.__doc__ for name, task in TASKS.items()})


@app.command(epilog="Example: interp analyses")
def analyses() -> None:
    """List the analyses."""
    from analyses import ANALYSES

    _list({name: cls.__doc__ for name, cls in ANALYSES.items()})


@app.command(epilog="Example: interp presets modular-addition > my-experiment.toml")
def presets(
    name: Annotated[str | None, typer.Argument(help="A preset to print in full.")] = None,
) -> None:
    """List the presets, or print one as TOML with every default, to start an experiment from."""
    from interp.config.experiment import load_experiment, preset_names, preset_summary

    if name:
        typer.echo(load_experiment(name).to_toml(), nl=False)
        return
    _list({each: preset_summary(each) for each in preset_names()})
    typer.echo("\nfor interp sweep:")
    _list({each: preset_summary(each, "sweeps") for each in preset_names("sweeps")})


def main() -> None:
    """Runs the command line; a user's error is one line and exit code 2."""
    warnings.showwarning = _say_warning
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        status = app(standalone_mode=False)
    except (ValueError, OSError) as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"{TOO_LITTLE_MEMORY} ({error})" if str(error) else TOO_LITTLE_MEMORY)
    except Exception as error:
        found = OUT_OF_MEMORY.search(str(error))  # on the CPU, torch raises a bare RuntimeError
        if found:
            _fail(f"{TOO_LITTLE_MEMORY} ({found[0]})")
        # Usage errors come from the parser, whose own exceptions say how to print themselves.
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    else:
        if status == INTERRUPTED:
            typer.echo("interp: stopped; the same command carries on", err=True)
        sys.exit(status)


def _fail(message: str) -> None:
    typer.echo("interp: " + " ".join(message.split()), err=True)
    sys.exit(2)


def _say_warning(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"interp: {message}", err=True)


def _list(rows: dict[str, str | None]) -> None:
    width = max(map(len, rows)) + 2
    for name, text in rows.items():
        typer.echo(f"{name:<{width}}{(text or '').strip().splitlines()[0]}")
