"""The demo, on a + b mod 53: train a model, analyse it, report it, and print the findings."""

from collections.abc import Callable
from pathlib import Path

from interp.config.experiment import load_experiment
from interp.measure.analyze import analyze
from interp.pages import write_report
from interp.runs import current_results, headlines_of
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
        What was found, each in a line, and where run and report are.
    """
    run = train(load_experiment("modular-addition"), path, device=device, on_evaluate=on_evaluate)
    on_stage(f"analysing {len(run.steps)} checkpoints")
    analyze(run)
    on_stage("writing the report")
    index = write_report([run], pages)
    said = [finding.text for finding in headlines_of(current_results(run)[0])]
    return [*said, f"run     {run.path}", f"report  {index}"]
