"""The tiny run, or sweep, that has what an analysis needs."""

from typing import Any

import pytest

from analyses import ANALYSES, SweepResult
from analyses.result import missing
from interp.runs.run import Run


def run_for(name: str, run: Run, request: pytest.FixtureRequest) -> Any:
    """The tiny run, that of two layers where one is too few, of other data, or a sweep.

    Args:
        name: The analysis, as `ANALYSES` has it.
        run: The tiny run.
        request: Of the fixture that asks, to make the others.
    """
    needs = {*ANALYSES[name].needs}
    of_sentences = {"trees", "metrics.generalization.accuracy"} & needs
    if "LearningPlateau.length" in needs:
        return request.getfixturevalue("factors_sweep")
    if "experiment.task.weights" in needs:
        return request.getfixturevalue("selection_sweep")
    if issubclass(ANALYSES[name], SweepResult):
        return request.getfixturevalue("sentences_sweep" if of_sentences else "analysed_sweep")
    if "constants.pairs" in needs:
        return request.getfixturevalue("prompts_run")
    if {"constants.factors", "constants.asked"} & needs:
        return request.getfixturevalue("factors_run")
    if "constants.inputs" in needs:
        return request.getfixturevalue("parity_run")
    if of_sentences:
        return request.getfixturevalue("sentences_run")
    does_apply = not missing(ANALYSES[name], run.snapshot(count=1))
    return run if does_apply else request.getfixturevalue("two_layer_run")
