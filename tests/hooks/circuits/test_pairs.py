import dataclasses
import math

import pytest
import torch

from hooks import Examples
from hooks.circuits.pairs import Pairs, has_span, recovered, standard_error
from tests.planted import tokens_as_examples

CLEAN = torch.tensor([[1, 2, 7], [3, 3, 7], [0, 4, 7]])
CORRUPTED = torch.tensor([[1, 3, 7], [3, 5, 7], [0, 0, 7]])


def pairs(**options) -> Pairs:
    return Pairs.of(tokens_as_examples(CLEAN), tokens_as_examples(CORRUPTED), **options)


def test_the_answers_are_those_of_the_inputs():
    made = pairs(change="b")
    assert [classes.tolist() for classes in made.classes] == [[3, 6, 4], [4, 1, 0]]
    assert made.position.tolist() == [2, 2, 2]
    assert repr(made) == "Pairs(3, change 'b')"
    some = made.at(torch.tensor([2, 0]))
    assert some.classes[0].tolist() == [4, 3]
    assert some.corrupted.model_inputs.tolist() == [[0, 0, 7], [1, 3, 7]]


def test_roles_go_along_with_their_pairs():
    roles = {"second": torch.tensor([1, 1, 1]), "any": torch.tensor([0, 1, 2])}
    made = dataclasses.replace(pairs(), roles=roles)
    assert made.at(torch.tensor([2, 0])).roles["any"].tolist() == [2, 0]
    for wrong in (torch.tensor([0, 1]), torch.tensor([0, 1, 3]), torch.tensor([0, -1, 2])):
        with pytest.raises(ValueError, match="role 'any': give each pair one position below 3"):
            dataclasses.replace(made, roles={"any": wrong})


def test_control_pairs_have_another_wrong_class():
    swapped = Pairs.of(tokens_as_examples(CLEAN), tokens_as_examples(CLEAN.clone()), control=True)
    right, wrong = swapped.classes
    assert (right != wrong).all()
    assert repr(swapped) == "Pairs(3, change 'own', control)"


def test_metrics_by_hand():
    made = pairs().at(torch.tensor([0]))  # right 3, wrong 4
    logits = torch.tensor([[0.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    clean = torch.zeros_like(logits)
    total = math.exp(2) + math.exp(1) + 5
    expected = {
        "logit_difference": 1.0,
        "log_probability": 2 - math.log(total),
        "probability": math.exp(2) / total,
        "kl": -(math.log(total) - 3 / 7 - math.log(7)),
        "accuracy": 1.0,
    }
    for metric, value in expected.items():
        assert made.values(metric, logits, clean).tolist() == pytest.approx([value]), metric
    assert made.values("kl", clean, clean).tolist() == pytest.approx([0.0])


def test_real_answers_are_judged_by_squared_error():
    targets = torch.tensor([[1.0], [2.0]])
    scored = torch.ones(2, 1, dtype=torch.bool)
    clean, corrupted = (
        Examples(targets=targets, scored=scored, inputs=torch.randn(2, 3, 1)) for _ in range(2)
    )
    made = Pairs.of(clean, corrupted)
    assert made.position.tolist() == [2, 2]
    logits = made.answers(torch.tensor([[[0.0], [0.0], [4.0]], [[0.0], [0.0], [2.0]]]))
    assert made.values("squared_error", logits).tolist() == [-9.0, 0.0]
    with pytest.raises(ValueError, match="answers here are real numbers; take another"):
        made.values("logit_difference", logits)
    with pytest.raises(ValueError, match="there are no classes"):
        _ = made.classes


def test_answers_are_read_from_all_positions_or_the_last_ones():
    made, logits = pairs(), torch.randn(3, 3, 7)
    assert torch.equal(made.answers(logits), logits[:, 2].double())
    assert torch.equal(made.answers(logits[:, 2:]), logits[:, 2].double())


def test_recovered_is_a_ratio_of_means():
    clean, corrupted = torch.tensor([2.0, 4.0, 3.0]), torch.tensor([0.0, 1.0, -1.0])
    patched = torch.stack([clean, corrupted, torch.tensor([1.0, 1.0, 1.0])])
    assert recovered(patched, clean, corrupted).tolist() == pytest.approx([1, 0, 1 / 3])


def test_nothing_is_recovered_of_a_span_within_its_error():
    clean, corrupted = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0.0, 0.0, 0.0])
    assert not has_span(clean, corrupted)
    assert recovered(clean[None], clean, corrupted).isnan().all()
    assert not has_span(corrupted, corrupted)
    assert has_span(corrupted + 1, corrupted)  # without spread


def test_the_standard_error_is_that_of_the_mean():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert standard_error(values).tolist() == pytest.approx([math.sqrt(5 / 3) / 2])
    assert standard_error(values[:, :1]).isnan().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corrupted": tokens_as_examples(CORRUPTED[:, 1:])}, r"\[3, 3\], corrupted ones \[3, 2\]"),
        ({"position": torch.tensor([2, 1, 2])}, "pair 1: position 1 is not scored"),
        ({"position": torch.tensor([2, 3, 2])}, "pair 1: position 3 is not scored"),
        ({"position": torch.tensor([2])}, "give one for each pair"),
        ({"wrong": torch.tensor([4, 6, 0])}, "pair 1: right and wrong are the same class"),
        ({"wrong": None}, "give right and wrong, or neither"),
        ({"right": torch.tensor([4])}, r"right is \[1\]: give one class for each pair"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(pairs(), **change)


def test_inputs_of_other_lengths_are_refused():
    lengths = torch.tensor([3, 3, 3]), torch.tensor([3, 2, 3])
    clean, corrupted = (
        Examples(
            targets=torch.ones(3, 3, dtype=torch.long),
            scored=torch.tensor([[False, True, False]] * 3),
            tokens=CLEAN,
            lengths=each,
        )
        for each in lengths
    )
    with pytest.raises(ValueError, match="pair 1: 3 and 2 positions"):
        Pairs.of(clean, corrupted, control=True)
    with pytest.raises(ValueError, match="3 clean and 2 corrupted examples"):
        Pairs.of(clean, corrupted.head(2))


def test_unknown_metrics_are_refused():
    with pytest.raises(ValueError, match=r"no metric 'logit_diference'.*did you mean logit_diff"):
        pairs().values("logit_diference", torch.zeros(3, 7))
    with pytest.raises(ValueError, match="kl compares with the clean run"):
        pairs().values("kl", torch.zeros(3, 7))
