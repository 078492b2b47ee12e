"""The demo, on a + b mod 53: train a model, analyse it, report it, and print the findings."""

from collections.abc import Callable
from pathlib import Path

from analyses import FourierCircuit, FourierSpectrum, GrokkingPhases
from interp.config.experiment import load_experiment
from interp.measure.analyze import analyze, trace
from interp.pages import write_report
from interp.runs.run import Run
from interp.training.device import Device
from interp.training.loop import train
from interp.training.state import Row


def run_demo(
    path: Path,
    pages: Path,
    *,
    device: Device = "auto",
    on_evaluate: Callable[[Row, int], None] = lambda row, end: None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> list[str]:
    """Trains the preset `modular-addition`, analyses every checkpoint and writes a report.

    Args:
        path: The run folder; a run that was stopped carries on.
        pages: The report's folder.
        device: Where to train.
        on_evaluate: Called with each row of metrics and the step at which training will end.
        on_stage: Called with a description of each stage when it begins.

    Returns:
        The findings, each in a line, and where run and report are.
    """
    run = train(load_experiment("modular-addition"), path, device=device, on_evaluate=on_evaluate)
    on_stage(f"analysing {len(run.steps)} checkpoints")
    analyze(run)
    on_stage("writing the report")
    index = write_report([run], pages)
    return [*findings(run), f"run     {run.path}", f"report  {index}"]


def findings(run: Run) -> list[str]:
    """The findings about a run of modular arithmetic, each beside those of the untrained model."""
    phases = GrokkingPhases.measure(run).summary()
    spectrum, circuit = trace(run, FourierSpectrum), trace(run, FourierCircuit)
    first, last = circuit.iloc[0], circuit.iloc[-1]
    untrained, trained = spectrum.iloc[0], spectrum.iloc[-1]
    return [
        f"train accuracy reached 99 % at step {phases['t_train']:.0f}, "
        f"test accuracy at step {phases['t_test']:.0f}: the run {phases['category']}",
        f"{trained['key_count']} frequencies carry 90 % of the embedding: "
        f"{trained['key_frequencies']} (untrained: {untrained['key_count']})",
        f"cos w(a+b-c) at {len(last['key_frequencies'].split())} key frequencies explains "
        f"{last['logit_fve_key']:.1%} of the logits (untrained: {first['logit_fve_key']:.1%})",
        "without those waves the loss on training pairs is "
        f"{last['excluded_loss_train']:.2f} nats, "
        f"with only them {last['restricted_loss_all']:.1e} on all pairs "
        f"(untrained: {first['excluded_loss_train']:.2f} and {first['restricted_loss_all']:.2f})",
    ]
