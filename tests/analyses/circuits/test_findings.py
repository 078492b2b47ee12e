"""What circuits say: each sentence where it should be, and not where the control is as high."""

import math
from dataclasses import replace

import numpy as np
import pytest

from analyses import (
    ActivationPatching,
    CircuitBirth,
    CircuitOverlap,
    EdgeCircuit,
    HeadAblation,
    InductionScores,
    LocalLearningCoefficient,
    LogitAttribution,
    NeuronAblation,
)
from analyses.circuits.induction import DISTANCES, OFFSETS, SCORES
from analyses.circuits.words import edge_in_words, in_words, number, with_error

EDGES = ("embed->0.h0.q", "embed->0.h1.q", "0.h0->logits", "0.h1->logits")


def said(result, untrained=None):
    """Strengths and texts."""
    return [(each.strength, each.text) for each in result.findings(untrained)]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("0.h2", "head 0.2"),
        ("1.mlp", "MLP 1"),
        ("embed", "the embedding"),
        ("0.b_O", "the attention bias of layer 0"),
        ("b_U", "the bias of the unembedding"),
    ],
)
def test_parts_are_named_in_words(part, text):
    assert in_words(part) == text


def test_edges_are_named_in_words():
    assert edge_in_words("embed->0.h2.q") == "the embedding to the queries of head 0.2"
    assert edge_in_words("0.h2->logits") == "head 0.2 to the logits"


def test_numbers_have_three_digits_and_their_error_where_it_is_known():
    assert (number(1234.6), number(0.12345, "+")) == ("1,235", "+0.123")
    assert (with_error(1.25, 0.1), with_error(1.25, math.nan)) == ("1.25 ± 0.1", "1.25")


# Ablations: head 0.0 costs 1 to 2 nats, head 0.1 and the MLP nothing.
RISES = np.array([[2.0, 0, 0], [1, 0, 0], [1.5, 0, 0], [1.5, 0, 0]])


def ablation(rises=RISES, first=math.nan, error=0.1):
    return HeadAblation(
        parts=("0.h0", "0.h1", "0.mlp"), loss=0.1, accuracy=1.0, chance=0.1, loss_increase=rises,
        loss_error=np.full((4, 3), error), accuracy_change=0 * rises, accuracy_error=0 * rises,
        first_loss_increase=np.full((4, 3), first), first_accuracy_change=0 * rises,
        scored_on="all", means_of="scored", examples=10, unit="nats",
    )  # fmt: skip


def test_a_head_that_costs_much_in_every_way_is_found_beside_the_first_step():
    assert said(ablation(first=0.05)) == [
        (
            "found",
            "Without head 0.0, loss rises by 1 ± 0.1 (mean) to 2 nats (zero); at the first step "
            "by at most 0.05",
        ),
        (
            "not found",
            "No MLP matters alone: without one, loss rises by at most 0 nats; at the first step "
            "by at most 0.05",
        ),
    ]


@pytest.mark.parametrize("first", [0.95, 1.5])
def test_a_head_that_cost_as_much_at_the_first_step_is_null(first):
    assert ("null", f"at most {first}") in [
        (strength, text[-len(f"at most {first}") :])
        for strength, text in said(ablation(first=first))
    ]


def test_the_untrained_model_takes_the_place_of_an_unknown_first_step():
    assert said(ablation(), ablation(error=0.2))[0][0] == "null"
    assert "first step" not in said(ablation())[0][1]


def test_a_rise_within_three_errors_is_no_finding():
    strength, text = said(ablation(error=0.7, first=0.1))[0]
    assert (strength, text[:21]) == ("not found", "No head matters alone")


def neurons(first=math.nan):
    rises = np.array([[0.0, 2], [0, 1], [0, 1.5]])
    return NeuronAblation(
        layer=0, neurons=np.array([3, 8]), loss=0.1, accuracy=1.0, loss_increase=rises,
        loss_error=np.full((3, 2), 0.1), accuracy_change=0 * rises,
        first_loss_increase=np.full((3, 2), first), is_exact_readout=True, scored_on="all",
        means_of="scored", unit="nats",
    )  # fmt: skip


def test_a_neuron_is_found_beside_the_first_step_and_null_where_that_cost_as_much():
    text = "Without neuron 8 of layer 0, loss rises by 1 ± 0.1 (mean) to 2 nats (zero)"
    assert said(neurons()) == [("found", text)]
    assert said(neurons(0.9)) == [("null", f"{text}; at the first step by at most 0.9")]


def patching(control=0.5, span=10.0, span_error=0.5, metric="logit_difference"):
    """Head 0.0 does most of it, head 0.1 nothing."""
    effects = np.array([[[9.0], [-8], [control]], [[0.0], [0], [0]]])
    return ActivationPatching(
        metric=metric, change="both", receiver="", groups=("all",), group_sizes=np.array([9]),
        patches=(("head", 0, "0"), ("head", 0, "1")), effects=effects,
        errors=np.full((2, 3, 1), 0.2), accuracy=effects * 0, clean=np.array([span]),
        corrupted=np.zeros(1), span_errors=np.array([span_error]),
    )  # fmt: skip


def test_a_patch_is_found_beside_control_pairs_and_step_0():
    assert said(patching(), replace(patching(), effects=0.01 * patching().effects)) == [
        (
            "found",
            "Head 0.0 from corrupted inputs moves clean runs' logit difference by -8 ± 0.2, 80 % "
            "of the span 10 ± 0.5 (on control pairs +0.5)",
        ),
        (
            "found",
            "Head 0.0 from clean inputs moves corrupted runs' logit difference by +9 ± 0.2, 90 % "
            "of the span 10 ± 0.5 (at step 0 +0.09)",
        ),
    ]


@pytest.mark.parametrize("control", [7.5, -8.5])
def test_a_patch_that_moves_control_pairs_as_much_is_null(control):
    assert said(patching(control))[0][0] == "null"


def test_a_patch_that_did_as_much_at_step_0_is_null():
    assert said(patching(), patching())[1][0] == "null"


def test_without_control_pairs_none_are_told():
    assert said(patching(math.nan))[0][1].endswith("of the span 10 ± 0.5")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"span_error": 4.0}, "by 10 ± 4: under 3 standard errors"),
        ({"span": -10.0}, "by -10 ± 0.5: the wrong way round"),
    ],
)
def test_without_a_span_no_patch_tells_anything(options, why):
    assert said(patching(**options)) == [
        (
            "not found",
            f"A change of both moves the logit difference {why}, so no patch tells anything",
        )
    ]


def test_a_divergence_has_no_wrong_way_round():
    assert said(patching(span=-10.0, metric="kl"))[0][0] == "found"


def circuit(span=10.0, span_error=0.5, random=1.0, control=0.2):
    """Two of four edges do it all."""
    kept = np.array([0.0, 5, 10, 10, 10]) * span / 10
    return EdgeCircuit(
        n_layers=1, n_heads=2, has_mlp=False, metric="logit_difference", change="both",
        order="top", exact=True, steps=5, edges=EDGES, scores=np.array([-5.0, 0, -9, 0]),
        errors=np.full(4, 0.3), gradient_scores=np.zeros(4),
        control_scores=np.full(4, control), clean=span, corrupted=0.0, span_error=span_error,
        accuracy=1.0, ranking=np.array([2, 0, 1, 3]), n_acdc=0, sizes=np.arange(5), kept=kept,
        kept_accuracy=kept * 0, random_sizes=np.array([0, 2, 4]),
        random=np.array([[0, random, span], [0, 0, span]]),
    )  # fmt: skip


def test_a_circuit_is_found_beside_random_edges_and_an_edge_beside_control_pairs():
    assert said(circuit(), circuit(span=0.1)) == [
        (
            "found",
            "2 of 4 edges recover 100 % of the logit difference lost by a change of both "
            "(10 ± 0.5, at step 0 0.1), 2 random edges 5 %",
        ),
        (
            "found",
            "Corrupting head 0.0 to the logits alone moves the logit difference by -9 ± 0.3 "
            "(span 10 ± 0.5, on control pairs +0.2)",
        ),
    ]


@pytest.mark.parametrize(
    ("of", "untrained"), [(circuit(random=10.0), None), (circuit(), circuit(span=9.5))]
)
def test_a_circuit_is_null_where_random_edges_or_step_0_do_as_much(of, untrained):
    assert said(of, untrained)[0][0] == "null"


@pytest.mark.parametrize("control", [8.5, -9.0])
def test_an_edge_that_moves_control_pairs_as_much_is_null(control):
    assert said(circuit(control=control))[1][0] == "null"


def test_an_edge_without_error_and_control_is_not_told():
    unknown = replace(circuit(control=math.nan), errors=np.full(4, math.nan))
    assert [text[:5] for _, text in said(unknown)] == ["2 of "]


def test_without_a_span_no_edge_tells_anything():
    why = "A change of both moves the logit difference by 10 ± 4: under 3 standard errors"
    assert said(circuit(span_error=4.0)) == [("not found", f"{why}, so no edge tells anything")]
    assert "the wrong way round" in said(circuit(span=-10.0))[0][1]


def birth(scores, span_error=1.0):
    count = len(scores)
    return CircuitBirth(
        metric="logit_difference", change="both", exact=True, steps=tuple(range(count)),
        parts=("train", "test"), edges=("0.mlp->logits",),
        scores=np.repeat(np.array(scores, dtype=float)[None, :, None], 2, axis=0),
        spans=np.full((2, count), 10.0), span_errors=np.full((2, count), span_error),
        accuracy=np.repeat(np.linspace(0, 1, count)[None], 2, axis=0),
    )  # fmt: skip


def test_edges_are_born_on_held_out_pairs_first_beside_those_there_at_first():
    text = "edges reach half their final effect at steps 2 to 2 (median 2; 0 have it at the first"
    assert said(birth([0, -2, -4, -6, -8])) == [
        ("found", f"On {part} pairs 1 {text} step); accuracy passes half at step 2")
        for part in ("test", "train")
    ]


def test_edges_that_were_there_at_the_first_step_are_null():
    assert said(birth([-8, -8, -8]))[0][0] == "null"


def test_without_a_span_no_edge_is_born():
    text = "On test pairs no edge is born: at the last step clean and corrupted inputs differ by "
    assert said(birth([0, -8], span_error=5.0))[0] == (
        "not found",
        f"{text}10 ± 5 (it takes 3 standard errors)",
    )


def overlap(matched, permuted, runs=3):
    table = np.ones((runs, runs))
    return CircuitOverlap(
        metric="logit_difference", change="both", part="test", top=8, n_edges=20,
        runs=tuple("abcdef"[:runs]), left_out=(), scores=np.zeros((runs, 20)), jaccard=table,
        matched=matched * table, permuted=permuted * table, correlation=table,
        matched_correlation=table,
    )  # fmt: skip


def test_circuits_are_alike_beside_permuted_heads():
    text = "The 8 strongest edges of 3 runs agree with a Jaccard index of"
    assert said(overlap(0.9, 0.3)) == [
        ("found", f"{text} 0.90 with heads matched, 0.30 with heads permuted at random")
    ]
    assert said(overlap(0.9, 0.75))[0][0] == "null"  # matching alone gives as much
    assert said(overlap(0.9, 0.3, runs=1)) == []


def induction(prefix=0.9, first=0.05, rise=2.0, chance=1 / 64):
    """Head 1.0 looks at what followed before, head 0.0 at the previous token."""
    profile, previous = np.zeros((2, 1, len(OFFSETS))), np.zeros((2, 1, len(DISTANCES)))
    profile[1, 0, OFFSETS.index(0)], previous[0, 0, DISTANCES.index(1)] = prefix, 0.8
    untrained = np.full((len(SCORES), 2, 1), first)
    return InductionScores(
        prefix=profile, previous=previous, uniform_prefix=np.full(len(OFFSETS), 0.1),
        uniform_previous=np.full(len(DISTANCES), 0.1), copying_eigenvalues=np.zeros((2, 1)),
        copying_logits=np.zeros((2, 1)), undefined_logits="",
        loss_increase=np.array([[0.0], [rise]]), layer_loss_increase=np.array([0.0, 3.0]),
        untrained_scores=untrained, queries=9, loss=0.2, accuracy=1.0, first_loss=4.0,
        chance=chance,
    )  # fmt: skip


def test_an_induction_head_is_found_beside_uniform_attention_and_an_untrained_head():
    beside = "(uniform attention 10 %, best untrained head 5 %)"
    assert said(induction()) == [
        (
            "found",
            f"Head 1.0 puts 90 % of its attention on what followed the token before {beside}",
        ),
        (
            "found",
            "Without head 1.0, loss rises from 0.2 by 2 nats, without all heads of its layer by 3 "
            "(at the first step by 0.05, guessing costs 4.16)",
        ),
        ("found", f"Head 0.0 puts 80 % of its attention on the previous token {beside}"),
    ]


@pytest.mark.parametrize(
    ("options", "strengths"),
    [
        ({"first": 0.85}, ["null", "found", "null"]),
        ({"first": 1.95}, ["null", "null", "null"]),
        ({"rise": 0.05}, ["found", "not found", "found"]),
        ({"prefix": 0.15}, ["not found"]),
    ],
)
def test_heads_are_null_or_missed_where_controls_are_as_high(options, strengths):
    assert [strength for strength, _ in said(induction(**options))] == strengths


def test_unknown_controls_of_heads_are_not_told():
    texts = [text for _, text in said(induction(first=math.nan, chance=math.nan))]
    assert texts[0].endswith("(uniform attention 10 %)")
    assert texts[1].endswith("its layer by 3")
    assert "nan" not in " ".join(texts)


def coefficients(estimates, gauss):
    """Two steps that both have a coefficient."""
    table = np.array([estimates], dtype=float)
    chains, zero = np.stack([table - 1, table + 1], -1), 0 * table
    return LocalLearningCoefficient(
        steps=np.array([5, 1000]), gammas=np.array([100.0]), eps=np.array([1e-4]),
        estimates=chains, halves=np.stack([table, table], -1), below=zero, downhill=zero,
        step_index=zero, lowest=zero, distance=zero, gauss=np.full_like(table, gauss),
        train_loss=np.ones(2), held_out=np.ones(2), held_out_name="", frozen=(), d=3, n=7,
        nbeta=3.6, burn_in=1, draws=2, minibatch=0, evaluated=7,
    )  # fmt: skip


def test_a_coefficient_is_found_beside_gaussian_noise():
    assert said(coefficients([50, 20], 90)) == [
        (
            "found",
            "The learning coefficient is 20 ± 1 at step 1,000, 50 at its peak at step 5; Gaussian "
            "noise in place of chains gives 90 at step 1,000",
        )
    ]


@pytest.mark.parametrize("noise", [22, 18, 20])
def test_a_coefficient_that_noise_alone_gives_is_null(noise):
    assert said(coefficients([50, 20], noise))[0][0] == "null"


def test_no_coefficient_says_why():
    diverged = replace(coefficients([1, 2], 9), estimates=np.full((1, 2, 2), math.nan))
    text = "No step has a learning coefficient; at the last one: chains diverged"
    assert said(diverged) == [("not found", text)]


def attribution(permuted=0.1, first=0.01, accuracies=(0.2, 1.0), of_first=0.1, chance=0.1):
    return LogitAttribution(
        parts=("embed", "0.mlp"), attribution=np.array([0.0, 5]), error=np.full(2, 0.2),
        permuted=np.full(2, permuted), first_attribution=np.full(2, first),
        points=("resid_pre 0", "resid_post 0"), lens_loss=np.ones(2),
        lens_accuracy=np.array(accuracies), first_lens_loss=np.ones(2),
        first_lens_accuracy=np.full(2, of_first), lens="own", chance=chance, unit="nats",
    )  # fmt: skip


def test_a_part_is_found_beside_permuted_answers_and_the_first_step():
    assert said(attribution()) == [
        (
            "found",
            "MLP 0 adds 5 ± 0.2 logits to the right answer (all parts 5; permuted answers 0.1, "
            "first step 0.01)",
        ),
        (
            "found",
            "The last part makes the answer: accuracy 20 % before the last part, 100 % at the end "
            "(guessing 10 %, first step 10 %)",
        ),
    ]


@pytest.mark.parametrize("controls", [{"permuted": 4.9}, {"first": 5.0}])
def test_a_part_that_adds_as_much_to_a_control_is_null(controls):
    assert said(attribution(**controls))[0][0] == "null"
    assert said(attribution(first=math.nan), attribution())[0][0] == "null"


def test_an_answer_that_is_there_before_the_last_part_is_read_off_earlier():
    assert said(attribution(accuracies=(0.98, 1.0)))[1][1].startswith(
        "The answer is read off earlier"
    )


@pytest.mark.parametrize("controls", [{"chance": 0.97}, {"of_first": 0.97}])
def test_no_answer_is_read_off_where_guessing_or_the_first_step_is_as_right(controls):
    assert said(attribution(**controls))[1][0] == "not found"


def test_of_real_numbers_and_readouts_only_what_is_known_is_told():
    assert len(said(attribution(accuracies=(math.nan, math.nan)))) == 1
    nothing = np.zeros(0)
    readout = replace(
        attribution(), parts=(), attribution=nothing, error=nothing, permuted=nothing,
        first_attribution=nothing,
    )  # fmt: skip
    assert [text[:8] for _, text in said(readout)] == ["The last"]
