"""The command line: each command parses its options, calls one function and says what was written.

Nothing heavy is imported before a command runs, so that `interp --help` answers at once.
"""

import gc
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import interp
from interp.cli.placement import Placement
from interp.cli.progress import spinner, sweep_bar, training_bar

INTERRUPTED = 130  # the parser's exit code after Ctrl-C
OUT_OF_MEMORY = re.compile(
    r"you tried to allocate \d+ bytes|Tried to allocate [\d.]+ \w+"
    r"|Storage size calculation overflowed with sizes=[^\n]*"
)
TOO_LITTLE_MEMORY = (
    "there is too little memory: end other programs, or take a smaller model, batch or stack"
)

# Objects made before Python looks for circles among them. With its 700, a tenth of a short command
# goes into looking through what was just imported.
GARBAGE = 50_000

app = typer.Typer(
    help="Train small transformers on tasks whose answer is known; measure when structure appears.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Paths = Annotated[
    list[Path],
    typer.Argument(help="Run folders, folders that hold them, sweeps, or hf://user/name."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes CUDA where there is one.")
]
Threads = Annotated[
    int, typer.Option(min=1, help="CPU threads; another number changes the last digits.")
]


def _trust(context: Any, is_given: bool) -> bool:  # the parser's own context, by its place
    """Files that hold classes of a run may be imported as long as the command runs."""
    if is_given:
        from hooks.own_classes import trusting

        context.with_resource(trusting())
    return is_given


Trust = Annotated[
    bool,
    typer.Option("--trust", callback=_trust, help="Import own classes that a folder names."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; one a core by default, one on a GPU.")
]
Track = Annotated[
    list[str] | None,
    typer.Option(help="wandb, trackio, tensorboard or mlflow; may be given several times."),
]
Stack = Annotated[
    int | None, typer.Option(min=1, help="Models a stack, at most; chosen by device and model.")
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--executor", help="local, slurm, ray, package.module:factory, or FILE.toml: where it runs."
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", help="NAME=VALUE of the executor; may be given several times."),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Jobs that the executor is given, at most; 1,000.")
]
WorkerDevice = Annotated[
    Literal["cpu", "cuda"], typer.Option(help="What jobs and parts are cut for.")
]
WorkerMemory = Annotated[
    str | None, typer.Option(help="Of a worker's GPU, such as 80GB; with --worker-device cuda.")
]
PartText = Annotated[
    str | None, typer.Option("--part", help="K/N: train the Kth of N parts alone.")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Return at once, and let it go on; see interp status.")
]


@app.command(epilog="Example: interp demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    report: Annotated[Path, typer.Option(help="Report folder.")] = Path("report"),
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Train on a+b mod 53 until it groks, analyse every checkpoint, write a report."""
    set_threads(threads)
    from interp.cli.demo import run_demo

    with training_bar() as on_evaluate:
        findings = run_demo(
            out, report, device=device, on_evaluate=on_evaluate, on_stage=typer.echo
        )
    typer.echo("\n".join(findings))


@app.command(epilog="Example: interp train modular-addition --out runs/addition --seed 1")
def train(
    experiment: Annotated[str, typer.Argument(help="A TOML file or the name of a preset.")],
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/NAME-sSEED by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Sets the seeds of model, data and order.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds 0 to N - 1, as a sweep in runs/NAME-seeds.")
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    workers: Workers = None,
    stack: Stack = None,
    track: Track = None,
    trust: Trust = False,
    executor: Engine = None,
    option: Option = None,
    jobs: Jobs = None,
    worker_device: WorkerDevice = "cpu",
    worker_memory: WorkerMemory = None,
    part: PartText = None,
    detach: Detach = False,
) -> None:
    """Train an experiment into a run folder, or carry on where it was stopped."""
    set_threads(threads)
    from interp.sweeps.definition import sweep_of_seeds

    loaded = interp.load_experiment(experiment)
    place = Placement(executor, option or (), jobs, worker_device, worker_memory, part, detach)
    if seeds is not None:
        if seed is not None:
            raise ValueError("--seed is one seed and --seeds several: give one of the two")
        out = out or Path("runs") / f"{loaded.name}-seeds"
        how = {"device": device, "stack": stack, "track": track or ()}
        return _train_sweep(sweep_of_seeds(loaded, seeds), out, workers, place, how)
    if place != Placement():
        raise ValueError("--executor, --part and --detach are of many runs: give --seeds too")
    chosen = loaded if seed is None else loaded.with_seed(seed)
    out = out or Path("runs") / f"{chosen.name}-s{chosen.seeds.model}"
    with training_bar() as on_evaluate:
        run = interp.train(chosen, out, device=device, on_evaluate=on_evaluate, track=track or ())
    typer.echo(f"trained {run.path}: {len(run.steps)} checkpoints, the last at {run.steps[-1]}")


@app.command(epilog="Example: interp sweep parity-l1 --out runs/l1 --dry-run")
def sweep(
    file: Annotated[
        str, typer.Argument(help="A TOML file with base, vary, mode and seeds, or a preset.")
    ],
    out: Annotated[Path | None, typer.Option(help="Sweep folder; runs/NAME by default.")] = None,
    device: Device = "auto",
    workers: Workers = None,
    stack: Stack = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, and for how long.")
    ] = False,
    track: Track = None,
    trust: Trust = False,
    executor: Engine = None,
    option: Option = None,
    jobs: Jobs = None,
    worker_device: WorkerDevice = "cpu",
    worker_memory: WorkerMemory = None,
    part: PartText = None,
    detach: Detach = False,
) -> None:
    """Train every run of a sweep; those that are finished are passed over."""
    set_threads(1)
    loaded = interp.load_sweep(file)
    out = out or Path("runs") / loaded.name
    place = Placement(executor, option or (), jobs, worker_device, worker_memory, part, detach)
    how = {"device": device, "stack": stack}
    if not dry_run:
        return _train_sweep(loaded, out, workers, place, how | {"track": track or ()})
    _plan_sweep(loaded, out, workers, place, how)


@app.command(epilog="Example: interp status runs/l1")
def status(
    paths: Annotated[
        list[Path], typer.Argument(help="Sweep folders, run folders, or folders that hold runs.")
    ],
    runs: Annotated[bool, typer.Option("--runs", help="A line for each run, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each path; with --runs, all runs.")
    ] = False,
) -> None:
    """Say how sweeps stand, by their folders alone: done, running where, failed and why, left."""
    from interp.sweeps.status import sweep_status

    failures = []
    for path in paths:
        try:
            found = sweep_status(path)
        except (ValueError, OSError) as error:  # the others are still told
            failures.append(str(error))
        else:
            lines = [json.dumps(found.to_dict(runs=runs))] if as_json else found.lines(runs=runs)
            typer.echo("\n".join(lines))
    if failures:
        raise ValueError("; ".join(failures))


@app.command(epilog="Example: interp construct constructed-circle")
def construct(
    experiment: Annotated[str, typer.Argument(help="A TOML file or the name of a preset.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
) -> None:
    """Write a network whose weights are made by hand into a run folder; nothing is trained."""
    set_threads(1)
    loaded = interp.load_experiment(experiment)
    run = interp.construct(loaded, out or Path("runs") / loaded.name)
    typer.echo(f"wrote {run.path}: go on with `interp analyze {run.path}`")


@app.command(epilog="Example: interp analyze runs/demo --only FourierSpectrum")
def analyze(
    paths: Paths,
    only: Annotated[
        list[str] | None,
        typer.Option(help="An analysis by name, or FILE.py:CLASS; may be given several times."),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Say which analyses do not apply, and why.")
    ] = False,
    device: Device = "cpu",
    threads: Threads = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, a run each; by default this one alone.")
    ] = None,
    trust: Trust = False,
    executor: Engine = None,
    option: Option = None,
    jobs: Jobs = None,
) -> None:
    """Measure runs and sweeps with every analysis that applies; save what is not saved yet."""
    set_threads(threads)
    from interp.executors.local import Processes
    from interp.measure.sweep import analyze_folders
    from interp.sweeps.sweep import find_folders

    failures = []
    folders = find_folders(_working_copies(paths))
    place = folders[0].path.parent if isinstance(folders[0], interp.Run) else folders[0].path
    engine = Placement(executor, option or (), jobs).engine(place)
    check_workers(workers, executor)
    if workers is not None:
        engine = Processes(workers)
    how: dict[str, Any] = {"device": device, "engine": engine} | ({"jobs": jobs} if jobs else {})
    with spinner("{place}") as show:
        for path, outcomes, fault in analyze_folders(
            folders, only or None, on_place=lambda now: show(place=now), **how
        ):
            failures += [fault] if fault else []
            for line in _outcome_lines(outcomes, only or (), why=why):
                typer.echo(f"{path}  {line}")
    if failures:
        raise ValueError("; ".join(failures))


@app.command(epilog="Example: interp report runs/ --out report")
def report(
    paths: Paths,
    out: Annotated[
        Path | None, typer.Option(help="Folder, or file; report or RUN.html by default.")
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="One page about one run or sweep, to be sent.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Write pages about runs, or a sweep, from saved results; they open without a network."""
    from interp.sweeps.sweep import find_folders

    gc.freeze()  # what was imported stays: no collection need look through it again
    folders = find_folders(paths)
    place = out or Path(f"{folders[0].path.resolve().name}.html" if single_file else "report")
    runs = [folder for folder in folders if isinstance(folder, interp.Run)]
    sweeps = [folder for folder in folders if not isinstance(folder, interp.Run)]
    if sweeps and len(folders) > 1:
        raise ValueError("a report is of runs or of one sweep: name the sweep's folder alone")
    index = (
        interp.write_sweep_report(sweeps[0], place, single_file=single_file)
        if sweeps
        else interp.report(runs, place, single_file=single_file)
    )
    typer.echo(f"wrote {index}")


@app.command(epilog="Example: interp figure runs/demo FourierSpectrum embedding --out fig.pdf")
def figure(
    run: Annotated[Path, typer.Argument(help="A run folder, or hf://user/name; or a sweep's.")],
    analysis: Annotated[str, typer.Argument(help="An analysis whose result is saved.")],
    slug: Annotated[
        str | None, typer.Argument(help="Which of its figures; the first by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="A .pdf, .svg or .png file.")] = Path("figure.pdf"),
    width: Annotated[str, typer.Option(help="Such as 3.25in, 8cm or 240pt.")] = "3.25in",
    height: Annotated[str | None, typer.Option(help="In proportion by default.")] = None,
    step: Annotated[int | None, typer.Option(help="A measured step; the last by default.")] = None,
    title: Annotated[
        bool, typer.Option("--title", help="With its title, which a caption says in a paper.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Write a figure of a saved result at the size of a paper, as vectors with embedded fonts."""
    from analyses.plots import Figure, pixels, write_figure
    from interp.sweeps.sweep import find_sweep

    sweep = find_sweep(run)
    if sweep is not None and step is not None:
        raise ValueError("--step is of a run: a result of a sweep has none")
    saved = sweep.result(analysis) if sweep else interp.load(run).result(analysis, step=step)
    drawing = saved.plot(slug)
    if not isinstance(drawing, Figure):
        raise ValueError(f"{slug} is drawn by a script of the page; take another figure of it")
    tall = pixels(height) if height else None
    write_figure(drawing, out, width=pixels(width), height=tall, title=title)
    typer.echo(f"wrote {out}")


@app.command("import", epilog="Example: interp import grok.pth --out runs/g --task task.toml")
def import_(
    source: Annotated[Path, typer.Argument(help="A file or a folder of checkpoints.")],
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
    trust: Trust = False,
    step: Annotated[
        int | None, typer.Option(min=0, help="Step of one model that does not say it.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="TOML: which tensor is which parameter, of unknown code.")
    ] = None,
) -> None:
    """Turn checkpoints of other code into a run folder, reading nothing that could run."""
    from interp.importers import describe, user_options

    options = user_options(config, act_fn=act_fn, normalization_type=normalization_type)
    run = interp.import_run(source, out, task, options, seed, step=step, mapping=mapping)
    typer.echo(describe(run))


@app.command(epilog="Example: interp push runs/demo hf://user/name --private")
def push(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    address: Annotated[str, typer.Argument(help="hf://user/name, or hf://user/name@branch.")],
    private: Annotated[
        bool, typer.Option("--private", help="Nobody else may see the repository.")
    ] = False,
) -> None:
    """Upload a run to the Hugging Face Hub, with a model card."""
    typer.echo(f"pushed {interp.push(interp.load(run), address, private=private)}")


@app.command(epilog="Example: interp pull hf://user/name --out runs/theirs")
def pull(
    address: Annotated[str, typer.Argument(help="hf://user/name, or hf://user/name@revision.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
) -> None:
    """Copy a run from the Hugging Face Hub into a run folder."""
    typer.echo(f"{address} is in {interp.pull(address, out).path}")


@app.command(epilog="Example: interp show runs/demo --step 0 --out attention.html")
def show(
    run: Annotated[Path, typer.Argument(help="A run folder, or hf://user/name.")],
    step: Annotated[int | None, typer.Option(help="A kept step; the last by default.")] = None,
    split: Annotated[str | None, typer.Option(help="A split of the task.")] = None,
    out: Annotated[Path, typer.Option(help="HTML file.")] = Path("attention.html"),
    trust: Trust = False,
) -> None:
    """Write attention and tokens of a snapshot's first examples to one offline page."""
    typer.echo(f"wrote {interp.show(interp.load(run).snapshot(step, split, 8)).save(out)}")


@app.command(epilog="Example: interp new task SortedDigits --kind several-answers")
def new(
    thing: Annotated[
        Literal["task", "analysis", "model"], typer.Argument(help="What to write a start for.")
    ],
    name: Annotated[str, typer.Argument(help="Of the class, or of its file.")],
    kind: Annotated[
        Literal["one-answer", "several-answers", "endless", "inputs"] | None,
        typer.Option(help="Of a task: one-answer by default."),
    ] = None,
) -> None:
    """Write a task, an analysis or a model to start from, with its test, in this folder."""
    from interp.templates import next_commands, write_template

    if kind is not None and thing != "task":
        raise ValueError(f"--kind is of tasks: leave it out for a new {thing}")
    files = write_template(thing, name, kind or "one-answer")
    typer.echo(f"wrote {', '.join(map(str, files))}; go on with")
    for line in next_commands(thing, name):
        typer.echo(f"  {line}")


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
    from interp.presets import preset_names, preset_summary

    if name:
        return typer.echo(interp.load_experiment(name).to_toml(), nl=False)
    _list({preset: preset_summary(preset) for preset in preset_names()})
    typer.echo("\nfor interp sweep:")
    _list({preset: preset_summary(preset, "sweeps") for preset in preset_names("sweeps")})


def main() -> None:
    """Runs the command line; a user's error is printed as one line, with exit code 2."""
    warnings.showwarning = _say_warning
    gc.set_threshold(GARBAGE)
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        status = app(standalone_mode=False)
    except (ValueError, OSError) as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"{TOO_LITTLE_MEMORY} ({error})" if str(error) else TOO_LITTLE_MEMORY)
    except Exception as error:
        match = OUT_OF_MEMORY.search(str(error))  # on the CPU, torch raises a bare RuntimeError
        if match:
            _fail(f"{TOO_LITTLE_MEMORY} ({match[0]})")
        # Usage errors come from the parser, whose own exceptions say how to print themselves.
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    else:
        if status == INTERRUPTED:
            typer.echo("interp: stopped; the same command carries on", err=True)
        sys.exit(status)


def _train_sweep(
    sweep: Any, out: Path, workers: int | None, place: Placement, how: dict[str, Any]
) -> None:
    """Trains a sweep and says what came out.

    Args:
        sweep: What to train.
        out: Its folder.
        workers: Processes on this machine.
        place: Where else it runs.
        how: Device, stack and trackers.
    """
    from interp.executors.local import worker_count
    from interp.runs import is_done_with
    from interp.sweeps.groups import Worker, stack_size
    from interp.sweeps.sweep import SweepFolder

    engine, settings = place.engine(out), place.settings()
    asked = _asked_of(SweepFolder(out, sweep), settings, how["stack"])
    check_workers(workers, place.executor)
    if not asked:
        return typer.echo(f"{out}: part {place.part} is empty: there are more parts than stacks")
    runs, part = len(asked), f"part {place.part}, " if place.part else ""
    if place.detach:
        from interp.cli.detach import detached

        return typer.echo(detached(sweep, out, engine, **settings, **how))
    if engine is None:
        workers = workers or worker_count(how["device"])
        size = how["stack"] or stack_size(sweep.base, Worker.here(how["device"]))
        at_work = f"{workers} at work (--stack, --workers)"
    else:
        size = how["stack"] or stack_size(sweep.base, settings["worker"])
        at_work = f"by {place.executor}"
    typer.echo(
        f"{part}{runs} models, {f'in stacks of up to {size}' if size > 1 else 'each alone'}, "
        f"{at_work}"
    )
    with sweep_bar() as show:
        folder = interp.train_sweep(
            sweep,
            out,
            workers=workers or 1,
            executor=engine,
            on_progress=lambda now: show(now.done, now.runs, now.steps),
            **settings,
            **how,
        )
    failed = [run for run in folder.failed() if run.path in asked]
    failures = f", {len(failed)} of them failed: {failed[0].failure}" if failed else ""
    done = [path for path, experiment in asked.items() if is_done_with(path, experiment)]
    others = (
        f", {runs - len(done)} others are left (interp status {out})" if len(done) < runs else ""
    )
    typer.echo(f"trained {out}: {part}{len(done)} runs{failures}{others}")


def _asked_of(folder: Any, settings: dict[str, Any], stack: int | None) -> Any:
    """The experiments, by folder, that a command trains: of a sweep, or of the part asked for."""
    from interp.sweeps.launch import part_in

    if "part" not in settings:
        return folder.experiments()
    return part_in(folder, settings["part"], settings["worker"], stack)


def _plan_sweep(
    sweep: Any, out: Path, workers: int | None, place: Placement, how: dict[str, Any]
) -> None:
    """Says what `_train_sweep` would train, and for about how long."""
    from interp.executors.local import worker_count
    from interp.sweeps.groups import described
    from interp.sweeps.launch import MAX_JOBS, groups_for
    from interp.sweeps.sweep import SweepFolder

    folder = SweepFolder(out, sweep)
    folder.check_belongs()
    engine, settings = place.engine(out), place.settings()
    asked = _asked_of(folder, settings, how["stack"])
    left = asked.keys() & folder.left().keys()
    part = f"part {place.part}, " if place.part else ""
    typer.echo(f"{part}{len(asked)} runs, {len(left)} of them to be trained into {out}")
    check_workers(workers, place.executor)
    groups = groups_for(folder, is_here=engine is None, **settings, **how)
    if engine is None:
        for line in described(groups, how["device"], workers or worker_count(how["device"])):
            typer.echo(line)
        return
    count = min(len(groups), settings.get("jobs", MAX_JOBS))
    typer.echo(f"{count} jobs for {place.executor}: {len(groups)} stacks")


def _working_copies(paths: Sequence[Path]) -> list[Path]:
    """Paths to save results in: for a run on the Hub, a copy in `runs/`, and a line about it."""
    from interp.runs import is_address

    copies = []
    for path in paths:
        copies.append(interp.pull(path).path if is_address(path) else path)
        if copies[-1] != path:
            typer.echo(f"results are saved in a copy, {copies[-1]}")
    return copies


def _outcome_lines(summaries: Sequence[Any], asked: Sequence[str], *, why: bool) -> Iterator[str]:
    """A line for each analysis that applies or was asked for by name, and a count of the others.

    Args:
        summaries: What became of each analysis, `Summary`s.
        asked: The analyses asked for by name.
        why: Whether every analysis has a line of its own.
    """
    listed = [summary for summary in summaries if summary.applies or why or summary.name in asked]
    for summary in listed:
        what = summary.reason or f"{summary.measured} measured, {summary.kept} kept"
        yield f"{summary.name}: {what}"
    omitted = len(summaries) - len(listed)
    if omitted:
        yield f"{omitted} {'does' if omitted == 1 else 'do'} not apply (--why says which and why)"


def check_count(option: str, count: int) -> None:
    """Refuses more threads or processes than a machine bears.

    Raises:
        ValueError: There are more than 64, and more than the machine has cores.
    """
    most = max(os.cpu_count() or 1, 64)
    if count > most:
        raise ValueError(f"--{option} {count}: this machine takes {most} at most")


def check_workers(workers: int | None, executor: str | None) -> None:
    """Refuses more processes than this machine bears, and any where an executor takes the work.

    Raises:
        ValueError: As said.
    """
    check_count("workers", workers or 1)
    if workers is not None and executor is not None:
        raise ValueError(
            "--workers is of this machine: leave it out with --executor; --option workers=N is of "
            "local, and --jobs N of all"
        )


def set_threads(threads: int) -> None:
    """Sets how many threads torch computes with; training also keeps its memory.

    Raises:
        ValueError: There are more than 64, and more than the machine has cores.
    """
    check_count("threads", threads)
    from interp.training.device import prepare_process

    prepare_process(threads)


def _fail(message: str) -> None:
    typer.echo("interp: " + " ".join(message.split()), err=True)
    sys.exit(2)


def _say_warning(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"interp: {message}", err=True)


def _list(rows: dict[str, str | None]) -> None:
    width = max(map(len, rows)) + 2
    for name, text in rows.items():
        typer.echo(f"{name:<{width}}{(text or '').strip().splitlines()[0]}")
