"""Pairs of questions, and what patching them says of the fixture: whose auxiliary is moved."""

import functools

import numpy as np
import pytest
import torch

import interp
from hooks import Snapshot
from hooks.circuits.pairs import Pairs
from hooks.patching import patched
from interp.tasks.language.english import read_lines
from interp.tasks.language.english_pairs import changed
from interp.tasks.language.grammar import (
    DETERMINERS,
    NOUNS,
    PLURALS,
    PREDICATES,
    RELATIVIZERS,
    SUBJECTS,
    draw,
)
from interp.tasks.language.question_formation import QUESTIONS, QuestionFormation
from tests.interp.tasks.said import said

SMALL = QuestionFormation(train_lines=2000, validation_lines=400, generalization_lines=300)
AUXILIARIES = ("do", "does", "don't", "doesn't")
OPPOSITE = {"do": "don't", "does": "doesn't", "don't": "do", "doesn't": "does"}
BOTH = [("generalization", "exchange"), ("generalization", "number"), ("generalization", "object")]
ALL = [*BOTH, *((split, change) for split in ("validation", "train", "train_questions")
                for change in ("number", "object"))]  # fmt: skip
# Denoised effects of the residual stream after a layer, at a role, in logits, of the first 256
# questions of a kind: by kind and step, the clean and the corrupted difference, then the effects.
ORACLE = {
    ("SRC", 0): (0.0143, -0.1230, {(0, "relative auxiliary"): 0.1684, (3, "quest"): 0.1372}),
    ("SRC", 5000): (
        6.0038,
        -6.0548,
        {
            (0, "main auxiliary"): 13.1798,
            (1, "relative auxiliary"): -0.9791,
            (2, "period"): 0.0666,
            (2, "quest"): 11.9873,
        },
    ),
    ("ORC", 5000): (
        -6.5273,
        6.5067,
        {
            (0, "relative auxiliary"): -13.6900,
            (1, "main auxiliary"): 0.6009,
            (2, "quest"): -13.1391,
            (3, "quest"): -13.0339,
        },
    ),
    ("ORC", 15000): (
        0.2208,
        -0.2470,
        {
            (0, "relative auxiliary"): -5.6314,
            (0, "main auxiliary"): 5.8766,
            (1, "quest"): 0.0455,
            (2, "period"): 0.6300,
        },
    ),
}
KINDS = {"SRC": ("SRC_i", "SRC_t"), "ORC": ("ORC",)}


def pairs_of(split: str, change: str) -> Pairs:
    return SMALL.input_pairs(split, None, 0, change)


def words_of(examples) -> list[list[str]]:
    return [list(words[1:-2]) for words in said(examples)]


def main_place(words: list[str]) -> int:
    """The first auxiliary, or the second where a relative clause follows the subject's noun."""
    places = [place for place, word in enumerate(words) if word in AUXILIARIES]
    return places[words[2] in RELATIVIZERS]


def named(tokens) -> list[str]:
    return [QUESTIONS.vocabulary[token] for token in tokens.tolist()]


@pytest.mark.parametrize(("split", "change"), ALL)
def test_both_lines_are_of_the_language_and_of_the_kind_of_the_split(split, change, tmp_path):
    pairs = pairs_of(split, change)
    assert len(pairs) > 30
    for examples in (pairs.clean, pairs.corrupted):
        lines = []
        for words in words_of(examples):
            main = main_place(words)
            moved = [words[main], *words[:main], *words[main + 1 :]]
            lines.append(f"{' '.join(words)} . quest\t{' '.join(moved)} ?")
        file = tmp_path / "lines.txt"
        file.write_text("\n".join(lines) + "\n")
        read = read_lines(str(file), QUESTIONS)
        assert read.is_changed.all()
        if split == "generalization":
            assert SMALL.generalizes(read.sentences).all()
        else:
            assert not SMALL.settles(read).any()


@pytest.mark.parametrize(("split", "change"), ALL)
def test_the_right_answer_is_the_main_auxiliary(split, change):
    pairs = pairs_of(split, change)
    right, wrong = map(named, pairs.classes)
    assert right == [words[main_place(words)] for words in words_of(pairs.clean)]
    corrupted = [words[main_place(words)] for words in words_of(pairs.corrupted)]
    if change == "object":
        assert corrupted == right
        assert wrong == [OPPOSITE[word] for word in right]
    else:
        assert corrupted == wrong


def test_exchanged_auxiliaries_are_all_that_differs():
    pairs = pairs_of("generalization", "exchange")
    assert len(pairs) == 300
    for clean, corrupted in zip(*map(words_of, (pairs.clean, pairs.corrupted)), strict=True):
        places = [place for place, word in enumerate(clean) if word in AUXILIARIES]
        assert len(places) == 2
        first, main = places
        wanted = list(clean)
        wanted[first], wanted[main] = clean[main], clean[first]
        assert corrupted == wanted
        assert clean[first] == OPPOSITE[clean[main]]


def test_auxiliaries_are_exchanged_where_there_are_no_others():
    weights = ((0, 0, 0.5, 0, 0.5), (0.5, 0, 0, 0.5, 0, 0))  # half of the objects have a clause
    sentences = draw(QUESTIONS.grammar, weights, 400, np.random.default_rng(0))
    fits, _ = changed(QUESTIONS.grammar, sentences, "exchange", 0)
    assert np.array_equal(fits, sentences.predicate == PREDICATES.index("intransitive"))
    assert 100 < fits.sum() < 300


def test_number_changes_the_subjects_noun_and_the_auxiliaries_that_agree():
    pairs = pairs_of("validation", "number")
    numbers = [examples.label("number") for examples in (pairs.clean, pairs.corrupted)]
    assert torch.equal(numbers[0], 1 - numbers[1])
    for clean, corrupted in zip(*map(words_of, (pairs.clean, pairs.corrupted)), strict=True):
        differ = [place for place in range(len(clean)) if clean[place] != corrupted[place]]
        assert differ == [1, main_place(clean)]


def test_of_questions_with_an_object_relative_the_number_is_not_changed():
    subjects = pairs_of("generalization", "number").clean.label("subject")
    assert {SUBJECTS[subject] for subject in subjects.tolist()} == {"SRC_i", "SRC_t"}


def test_controls_have_another_noun_of_the_same_number_in_the_object():
    pairs = pairs_of("generalization", "object")
    assert pairs.control
    for clean, corrupted in zip(*map(words_of, (pairs.clean, pairs.corrupted)), strict=True):
        (place,) = [place for place in range(len(clean)) if clean[place] != corrupted[place]]
        assert place == main_place(clean) + 3
        assert (clean[place] in PLURALS) == (corrupted[place] in PLURALS)


def test_nouns_of_controls_are_uniform():
    steps = []
    for seed in range(20):
        pairs = SMALL.input_pairs("generalization", None, seed, "object")
        row, place = torch.arange(len(pairs)), pairs.roles["object"]
        nouns = NOUNS + PLURALS
        for clean, corrupted in zip(
            *(named(x.model_inputs[row, place]) for x in (pairs.clean, pairs.corrupted)),
            strict=True,
        ):
            steps.append((nouns.index(corrupted) - nouns.index(clean)) % 13)
    counts = torch.tensor(steps).bincount(minlength=13)
    expected = len(steps) / 12
    assert expected > 150
    assert counts[0] == 0
    assert ((counts[1:] - expected).abs() < 5 * expected**0.5).all()


@pytest.mark.parametrize(("split", "change"), ALL)
def test_roles_stand_where_their_words_are(split, change):
    pairs = pairs_of(split, change)
    for row, (subject, words) in enumerate(
        zip(pairs.clean.label("subject").tolist(), said(pairs.clean), strict=True)
    ):
        found = {role: words[int(places[row])] for role, places in pairs.roles.items()}
        assert words[1] in DETERMINERS
        assert found["noun"] == words[2]
        assert found["main auxiliary"] == named(pairs.classes[0])[row]
        assert (found["period"], found["quest"]) == (".", "quest")
        has_clause = subject >= SUBJECTS.index("SRC_i")
        assert ("relative auxiliary" in found) == has_clause == (split == "generalization")
        if has_clause:
            assert found["relative auxiliary"] in AUXILIARIES
            assert pairs.roles["relative auxiliary"][row] < pairs.roles["main auxiliary"][row]
    assert ("object" in pairs.roles) == (change == "object")
    assert list(pairs.roles)[-1] == "quest"


def test_prompts_end_at_quest_and_keep_labels_and_trees():
    pairs = pairs_of("generalization", "exchange")
    every = SMALL.examples("generalization", None, 0)
    assert torch.equal(pairs.clean.label("subject"), every.label("subject"))
    assert pairs.clean.trees == every.trees
    assert torch.equal(pairs.position, every.label("words") + 2)
    assert torch.equal(pairs.clean.visible.sum(1), pairs.position + 1)
    width = pairs.clean.model_inputs.shape[1]
    cut = every.model_inputs[:, :width] * pairs.clean.visible
    assert torch.equal(pairs.clean.model_inputs, cut)
    assert pairs.clean.scored.sum() == len(pairs)


def test_fewer_pairs_are_drawn_by_the_seed():
    some, again, other = (
        said(SMALL.input_pairs("validation", 20, seed, "number").clean) for seed in (0, 0, 1)
    )
    assert len(some) == 20
    assert some == again != other


def test_no_corrupted_question_is_a_line_of_another_split():
    questions = {
        split: {
            words[: words.index("quest") + 1]
            for words in said(SMALL.examples(split, None, 0))
            if "quest" in words
        }
        for split in ("train", "validation")
    }
    for split, other in (("train", "validation"), ("validation", "train")):
        for change in ("number", "object"):
            assert not set(said(pairs_of(split, change).corrupted)) & questions[other]


@pytest.mark.parametrize("split", ["validation", "train"])
def test_where_no_subject_has_a_relative_clause_nothing_is_exchanged(split):
    with pytest.raises(ValueError, match=f"'exchange': no two inputs of the split {split} differ"):
        pairs_of(split, "exchange")


@functools.cache
def fixture_pairs(kind: str) -> Pairs:
    task = interp.load("fixtures/question-formation-small").experiment.task
    pairs = task.input_pairs("generalization", 1000, 0, "exchange")
    subjects = torch.tensor([SUBJECTS.index(name) for name in KINDS[kind]])
    return pairs.at(torch.isin(pairs.clean.label("subject"), subjects).nonzero()[:256, 0])


def differences(pairs: Pairs, snapshot: Snapshot) -> torch.Tensor:
    return pairs.values("logit_difference", pairs.answers(snapshot.logits()))


def check_oracle(kind: str, step: int) -> None:
    clean_mean, corrupted_mean, effects = ORACLE[kind, step]
    pairs = fixture_pairs(kind)
    whole = interp.load("fixtures/question-formation-small").snapshot(step)
    clean, corrupted = whole.on(pairs.clean), whole.on(pairs.corrupted)
    without = differences(pairs, corrupted)
    found: dict[object, torch.Tensor] = {
        "clean": differences(pairs, clean).mean(),
        "corrupted": without.mean(),
    }
    for layer, role in effects:
        edit = patched(clean, f"blocks.{layer}.hook_resid_post", positions=pairs.roles[role])
        found[layer, role] = (differences(pairs, corrupted.edited(edit)) - without).mean()
    wanted: dict[object, float] = {"clean": clean_mean, "corrupted": corrupted_mean, **effects}
    for name, value in wanted.items():  # written to four places
        assert float(found[name]) == pytest.approx(value, rel=1e-4, abs=1e-4), name


def test_the_main_auxiliary_is_moved_from_subject_relatives_at_step_5000():
    check_oracle("SRC", 5000)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step"), [key for key in ORACLE if key != ("SRC", 5000)])
def test_patched_questions_have_the_effects_of_the_specification(kind, step):
    check_oracle(kind, step)


def test_tokens_after_quest_do_not_matter():
    pairs = fixture_pairs("ORC").at(torch.arange(8))
    run = interp.load("fixtures/question-formation-small")
    every = run.experiment.task.examples("generalization", 1000, 0)
    keys = [words[: words.index("quest") + 1] for words in said(every)]
    rows = torch.tensor([keys.index(words) for words in said(pairs.clean)])
    snapshot = run.snapshot(15000)
    answered = snapshot.on(every.at(rows)).logits()[torch.arange(8), pairs.position]
    found = pairs.answers(snapshot.on(pairs.clean).logits())
    torch.testing.assert_close(found, answered.double(), rtol=1e-4, atol=1e-4)
