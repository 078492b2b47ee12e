"""The commands that train: one experiment, its seeds, or a sweep."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from interp.sweeps.sweep import Sweep

Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes CUDA where there is one.")
]
Threads = Annotated[
    int, typer.Option(min=1, help="CPU threads; another number changes the last digits.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; one a core by default, one on a GPU.")
]
Stack = Annotated[
    int | None, typer.Option(min=1, help="Models a stack, at most; chosen by device and model.")
]


def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    report: Annotated[Path, typer.Option(help="Report folder.")] = Path("report"),
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Train on a+b mod 53 until it groks, analyse every checkpoint, write a report."""
    set_threads(threads)
    from interp.cli.demo import run_demo
    from interp.cli.progress import training_bar

    with training_bar() as on_evaluate:
        found = run_demo(out, report, device=device, on_evaluate=on_evaluate, on_stage=typer.echo)
    typer.echo("\n".join(found))


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
) -> None:
    """Train an experiment into a run folder, or carry on where it was stopped."""
    set_threads(threads)
    from interp.cli.progress import training_bar
    from interp.config.experiment import load_experiment
    from interp.sweeps.sweep import sweep_of_seeds
    from interp.training.loop import train as train_run

    what = load_experiment(experiment)
    if seeds is not None:
        if seed is not None:
            raise ValueError("--seed is one seed and --seeds several: give one of the two")
        many = sweep_of_seeds(what, seeds)
        _train_sweep(many, out or Path("runs") / f"{what.name}-seeds", device, workers, stack)
        return
    what = what if seed is None else what.with_seed(seed)
    out = out or Path("runs") / f"{what.name}-s{what.seeds.model}"
    with training_bar() as on_evaluate:
        run = train_run(what, out, device=device, on_evaluate=on_evaluate)
    typer.echo(f"trained {run.path}: {len(run.steps)} checkpoints, the last at {run.steps[-1]}")


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
) -> None:
    """Train every member of a sweep; those that are finished are passed over."""
    set_threads(1)
    from interp.sweeps.groups import described, groups_left
    from interp.sweeps.sweep import SweepFolder, load_sweep
    from interp.sweeps.workers import worker_count

    what = load_sweep(file)
    out = out or Path("runs") / what.name
    if not dry_run:
        _train_sweep(what, out, device, workers, stack)
        return
    folder = SweepFolder(out, what)
    folder.check_belongs()
    left = folder.left()
    typer.echo(f"{len(what.experiments())} members, {len(left)} of them to be trained into {out}")
    check_count("workers", workers or 1)
    workers = workers or worker_count(device)
    for line in described(groups_left(folder, device, stack), device, workers):
        typer.echo(line)


def construct(
    experiment: Annotated[str, typer.Argument(help="A TOML file or the name of a preset.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
) -> None:
    """Write a network whose weights are made by hand into a run folder; nothing is trained."""
    set_threads(1)
    from interp.config.experiment import load_experiment
    from interp.runs.writing import construct as write_network

    what = load_experiment(experiment)
    run = write_network(what, out or Path("runs") / what.name)
    typer.echo(f"wrote {run.path}: go on with `interp analyze {run.path}`")


def _train_sweep(
    what: "Sweep", out: Path, device: Any, workers: int | None, stack: int | None
) -> None:
    from interp.cli.progress import sweep_bar
    from interp.sweeps.groups import stack_size
    from interp.sweeps.workers import train_sweep, worker_count

    check_count("workers", workers or 1)
    workers = workers or worker_count(device)
    size = stack or stack_size(what.base, device)
    how = f"in stacks of up to {size}" if size > 1 else "each alone"
    typer.echo(f"{len(what.experiments())} models, {how}, {workers} at work (--stack, --workers)")
    with sweep_bar() as show:
        folder = train_sweep(
            what, out, workers=workers, device=device, stack=stack,
            on_progress=lambda now: show(now.done, now.runs, now.steps),
        )  # fmt: skip
    failed = folder.failed()
    told = f", {len(failed)} of them failed: {failed[0].failure}" if failed else ""
    typer.echo(f"trained {out}: {len(what.experiments())} runs{told}")


def check_count(option: str, count: int) -> None:
    """Refuses more threads or processes than a machine bears.

    Raises:
        ValueError: There are more than 64, and more than the machine has cores.
    """
    most = max(os.cpu_count() or 1, 64)
    if count > most:
        raise ValueError(f"--{option} {count}: this machine takes {most} at most")


def set_threads(threads: int) -> None:
    """Sets how many threads torch computes with; training also keeps its memory.

    Raises:
        ValueError: There are more than 64, and more than the machine has cores.
    """
    check_count("threads", threads)
    from interp.training.device import prepare_process

    prepare_process(threads)
