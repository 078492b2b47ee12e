"""What probes say: each sentence where it should be, and not where the control is as high."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analyses import ContextComponent, ProbeAccuracy, WeightsComponent
from analyses.plots import as_data

CONTROLS = {"untrained": 0.2, "raw": 0.3, "shuffled": 0.1, "baseline": 0.1}


def drawn(figure: Any) -> Any:
    return as_data(figure)


def said(result, untrained=None):
    """Strengths and texts."""
    return [(each.strength, each.text) for each in result.findings(untrained)]


def probes(
    labels=("main_verb",), scores=(0.9,), n_classes=9, site="blocks.1.hook_resid_post", **of
):
    """Labels at one place; intervals reach a tenth up and down."""
    controls: Any = {
        name: np.full((len(labels), 1, 1)[: 2 if name in ("raw", "baseline") else 3], value)
        for name, value in (CONTROLS | of).items()
    }
    score = np.array(scores, dtype=float)[:, None, None]
    return ProbeAccuracy(
        labels=labels, n_classes=(n_classes,) * len(labels), sites=(site,), positions=(-1,),
        score=score, low=score - 0.1, high=score + 0.1, validation=score, penalty=score,
        held_out=(9, 9), method="ridge", probed="", left_out={}, **controls,
    )  # fmt: skip


def title(result):
    return drawn(result.figures()["controls"])["layout"]["title"]["text"]


def test_a_label_is_found_beside_its_best_control():
    text = "Label main verb is read after layer 1, last position: accuracy 90 %, best control 30 %"
    assert said(probes()) == [("found", f"{text} (raw input)")]
    assert title(probes()) == f"{text} (raw input)"


@pytest.mark.parametrize("control", ["untrained", "raw"])
def test_a_label_whose_control_is_as_high_is_null(control):
    controls: dict[str, Any] = {control: 1.0}
    result = probes(scores=(1.0,), **controls)
    ((strength, text),) = said(result)
    assert strength == "null"
    assert f"accuracy 100 %, no better than 100 % ({control}" in text
    assert title(result) == text


def test_a_control_within_the_interval_is_as_high():
    assert said(probes(raw=0.79))[0][0] == "found"
    assert said(probes(raw=0.81))[0][0] == "null"


def test_a_label_at_the_level_of_guessing_is_not_found():
    ((strength, text),) = said(probes(scores=(0.12,), untrained=0.1, raw=0.1))
    assert (strength, text[:36]) == ("not found", "Label main verb is not read after la")


def test_what_is_found_comes_first_and_misses_are_left_out_then():
    table = probes(labels=("a", "b", "c", "d"), scores=(0.1, 0.3, 0.9, 0.7), untrained=0.1)
    assert [text[:7] for _, text in said(table)] == ["Label c", "Label d", "Label b"]
    misses = probes(labels=("a", "b"), scores=(0.1, 0.12), untrained=0.1, raw=0.1)
    assert [text[:7] for _, text in said(misses)] == ["Label b"]


def test_a_label_that_names_a_split_is_no_finding_and_no_accuracy_on_it():
    result = probes(labels=("train", "c"), scores=(0.6, 0.9))
    assert [text[:7] for _, text in said(result)] == ["Label c"]
    assert [*result.summary()] == [
        "train_membership_accuracy", "train_membership_highest_control", "train_membership_site",
        "c_accuracy", "c_highest_control", "c_site",
    ]  # fmt: skip
    figures = {slug: drawn(figure) for slug, figure in result.figures().items()}
    assert list(figures["controls"]["data"][0]["x"]) == ["in train or not", "c"]
    assert figures["places"]["data"][0]["y"][0] == "in train or not"


def test_real_values_are_told_by_r2_and_unknown_controls_not_at_all():
    known = probes(n_classes=0, untrained=math.nan, raw=math.nan, site="hook_embed")
    text = "Label main verb is read in the embedding, last position: R² 0.90, best control 0.10"
    assert said(known) == [("found", f"{text} (shuffled labels)")]
    assert said(probes(scores=(math.nan,))) == []


def component(cls, score, initial, *, n_classes=4, raw=0.25, guess=0.25):
    """One label in one form after two blocks; intervals reach a tenth up and down."""
    table = np.full((1, 1, 2), score)
    return cls(
        labels=("hue",), n_classes=(n_classes,), forms=("identity",), sites=("0", "1"),
        score=table, low=table - 0.1, high=table + 0.1, validation=table, shuffled=0 * table,
        initial=np.full((1, 1, 2), initial), raw=np.full(1, raw), baseline=np.full(1, guess),
        mean_of=1, held_out=9, method="ridge", probed="",
    )  # fmt: skip


def test_what_a_prompt_asks_for_is_found_beside_its_best_control():
    text = (
        "What a prompt asks for is read after block 1 (identity) with accuracy 90 %, best control"
    )
    assert said(component(ContextComponent, 0.9, 0.4)) == [
        ("found", f"{text} 40 % (first step), guess 25 %")
    ]
    assert said(component(ContextComponent, 0.9, math.nan, n_classes=0)) == [
        ("found", text.replace("accuracy 90 %", "R² 0.90") + " 0.25 (raw input), guess 0.25")
    ]


@pytest.mark.parametrize("controls", [{"initial": 0.85}, {"initial": 0.1, "raw": 0.85}])
def test_what_a_control_reads_as_well_is_null(controls):
    assert said(component(ContextComponent, 0.9, **controls))[0][0] == "null"


def test_factors_that_are_read_worse_than_at_first_are_found():
    text = "A query's factors are read worse without context than before training after block 1"
    assert said(component(WeightsComponent, 0.5, 0.9)) == [
        ("found", f"{text} (identity): accuracy 50 %, first step 90 % (guess 25 %)")
    ]


@pytest.mark.parametrize("initial", [0.55, 0.2])
def test_factors_that_are_read_as_well_as_at_first_are_not(initial):
    strength, text = said(component(WeightsComponent, 0.5, initial))[0]
    assert (strength, "at least as well as before training" in text) == ("not found", True)


def test_the_untrained_result_stands_in_for_an_unknown_first_step():
    unknown = component(WeightsComponent, 0.5, math.nan)
    assert said(unknown) == []
    assert said(unknown, replace(unknown, score=np.full((1, 1, 2), 0.9)))[0][0] == "found"
