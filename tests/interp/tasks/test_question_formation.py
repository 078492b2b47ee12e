import math

import numpy as np
import pytest
import torch
from torch.func import vmap

from hooks import Snapshot
from interp.randomness import generator
from interp.tasks.english import SUBJECTS
from interp.tasks.question_formation import QUESTIONS, QuestionFormation
from tests.interp.tasks.samples import shares, unlike
from tests.interp.tasks.trees import right_branching_f1
from tests.planted import random_model

SMALL = QuestionFormation(train_lines=300, validation_lines=200, generalization_lines=400)
FULL = QuestionFormation()
AUXILIARIES = {"do", "does", "don't", "doesn't"}
PUBLISHED_LENGTHS = {
    4: 0.1079, 6: 0.1448, 7: 0.0629, 9: 0.3336, 11: 0.1228, 12: 0.1145, 14: 0.0927, 16: 0.0208,
}  # fmt: skip


@pytest.fixture(scope="module")
def first_20k():
    return QuestionFormation(train_lines=20_000).examples("train", None, 0)


@pytest.fixture(scope="module")
def validation_10k():
    """After 100,000 training lines, as the published test lines come."""
    return QuestionFormation(validation_lines=10_000).examples("validation", None, 0)


@pytest.fixture(scope="module")
def generalization():
    return FULL.examples("generalization", None, 0)


def auxiliaries(words):
    return [word for word in words if word in AUXILIARIES]


def logits_saying(examples, said):
    """Logits whose best token at each position is the given one."""
    return torch.nn.functional.one_hot(said, 71).double()


def answers(examples, choose):
    """Right targets, but for the first word of each question: `choose` of the sentence's words."""
    said = examples.targets.clone()
    for row in examples.label("changed").nonzero()[:, 0].tolist():
        n = int(examples.label("words")[row])
        said[row, n + 2] = QUESTIONS.ids[choose(examples.words[row][1 : n + 1])]
    return said


def graded(task, examples, said):
    batch = {"targets": examples.targets, "scored": examples.scored}
    return {name: float(x) for name, x in task.grade(logits_saying(examples, said), batch).items()}


def test_sentences_of_the_first_20000_lines_are_as_long_as_the_published_ones(first_20k):
    assert not unlike(shares(first_20k.label("words")), PUBLISHED_LENGTHS, 20_000, 20_000)


def test_the_share_of_questions_is_the_published_one(first_20k):
    found = shares(first_20k.label("changed"))
    assert not unlike(found, {False: 0.5857, True: 0.4143}, 20_000, 20_000)


def test_sentences_branch_to_the_right_as_much_as_the_published_ones(first_20k):
    questions = first_20k.at(first_20k.label("changed").nonzero()[:, 0])
    copies = first_20k.at((~first_20k.label("changed")).nonzero()[:, 0])
    # The mean over some 8,000 sentences has a standard error of about 0.002.
    assert right_branching_f1(questions.trees) == pytest.approx(0.6638, abs=0.01)
    assert right_branching_f1(copies.trees) == pytest.approx(0.58, abs=0.01)


def test_short_sentences_have_run_out_after_the_training_lines(validation_10k):
    found = shares(validation_10k.label("words"))
    published = {6: 0.155, 7: 0.0766, 9: 0.371, 11: 0.1376, 12: 0.1266, 14: 0.1049, 16: 0.0223}
    # What is left depends steeply on how many were drawn before: 0.6 % published, 1.0 % here.
    assert found.pop(4) == pytest.approx(0.006, abs=0.006)
    assert not unlike(found, published, 10_000, 10_000)


def test_subjects_have_the_published_kinds(validation_10k):
    changed, kinds = validation_10k.label("changed"), validation_10k.label("subject")
    copied = {0: 2701 / 5966, 1: 1433 / 5966, 2: 469 / 5966, 3: 458 / 5966, 4: 905 / 5966}
    assert not unlike(shares(kinds[~changed]), copied, 5966, 5966)
    assert not unlike(shares(kinds[changed]), {0: 2664 / 4034, 1: 1370 / 4034}, 4034, 4034)


def test_lines_for_generalization_have_the_published_lengths_and_kinds(generalization):
    lengths = {7: 0.1883, 9: 0.4674, 11: 0.1366, 12: 0.0685, 14: 0.1392}
    kinds = {2: 0.3204, 3: 0.3463, 4: 0.3333}
    objects = {0: 0.5921, 1: 0.2002, 2: 0.2077}
    for name, published in {"words": lengths, "subject": kinds, "predicate": objects}.items():
        assert not unlike(shares(generalization.label(name)), published, 10_000, 10_000)


def test_lines_for_generalization_branch_to_the_right_as_little_as_the_published(generalization):
    assert right_branching_f1(generalization.trees) == pytest.approx(0.3673, abs=0.01)


def test_every_line_for_generalization_is_a_question_with_a_relative_clause(generalization):
    assert generalization.label("changed").all()
    assert (generalization.label("subject") >= SUBJECTS.index("SRC_i")).all()


def test_in_lines_for_generalization_number_does_not_tell_which_auxiliary(generalization):
    pairs = {tuple(auxiliaries(words)[:2]) for words in generalization.words}
    assert pairs == {
        ("do", "don't"), ("don't", "do"), ("does", "doesn't"), ("doesn't", "does"),
    }  # fmt: skip


@pytest.mark.parametrize("sentences", ["fitted", "rc60", "rc60-orc80"])
def test_no_question_trained_on_has_a_relative_clause_on_its_subject(sentences):
    task = QuestionFormation(sentences=sentences, train_lines=3000)
    examples = task.examples("train", None, 0)
    assert not (examples.label("changed") & (examples.label("subject") >= 2)).any()


@pytest.mark.parametrize(
    ("sentences", "kinds"),
    [("rc60", [0.15, 0.15, 0.3]), ("rc60-orc80", [0.06, 0.06, 0.48])],
)
def test_other_distributions_have_their_shares_of_relative_clauses(sentences, kinds):
    task = QuestionFormation(sentences=sentences, train_lines=40_000)
    examples = task.examples("train", None, 0)
    of_copies = shares(examples.label("subject")[~examples.label("changed")])
    # Short sentences soon run out, so that there are a little more.
    assert [of_copies[kind] for kind in (2, 3, 4)] == pytest.approx(kinds, abs=0.03)
    assert examples.label("changed").double().mean() == pytest.approx(0.286, abs=0.02)


def test_all_distributions_have_the_same_lines_for_generalization():
    other = SMALL.model_copy(update={"sentences": "rc60"})
    first, second = (each.examples("generalization", None, 0).words for each in (SMALL, other))
    assert first == second


def test_a_question_begins_with_the_auxiliary_after_its_subject():
    examples = SMALL.examples("generalization", None, 0)
    labels = examples.label("words").tolist(), examples.label("main").tolist()
    rows = zip(examples.words or (), *labels, strict=True)
    for words, n, main in rows:
        source = list(words[1 : n + 1])
        rest = source[: main - 1] + source[main:]
        assert list(words[n + 3 :]) == [source[main - 1], *rest, "?"]


def test_every_auxiliary_agrees_with_its_noun():
    nouns = QUESTIONS.source["N"][0]
    examples = SMALL.examples("train", None, 0)
    labels = examples.label("words").tolist(), examples.label("main").tolist()
    for line, n, main in zip(examples.words or (), *labels, strict=True):
        words = line[: n + 1]
        for place, word in enumerate(words):
            if word in AUXILIARIES:
                noun = 2 if place == main else max(i for i in range(place) if words[i] in nouns)
                assert word.startswith("does") != (nouns.index(words[noun]) >= 13)


def test_training_questions_are_the_questions_among_training_lines():
    train, questions = (SMALL.examples(split, None, 0) for split in ("train", "train_questions"))
    expected = train.at(train.label("changed").nonzero()[:, 0])
    assert questions.words == expected.words


def test_the_main_auxiliary_is_always_right():
    examples = SMALL.examples("generalization", None, 0)
    found = graded(SMALL, examples, examples.targets)
    loss = found.pop("loss")
    assert set(found.values()) == {1.0}
    assert loss == pytest.approx(float(np.log(np.e + 70) - 1))


def test_fronting_the_first_auxiliary_is_never_right_where_it_matters():
    examples = SMALL.examples("generalization", None, 0)
    said = answers(examples, lambda words: auxiliaries(words)[0])
    found = graded(SMALL, examples, said)
    assert (found["accuracy"], found["line_accuracy"]) == (0, 0)


def test_fronting_the_first_auxiliary_is_always_right_in_training():
    examples = SMALL.examples("validation", None, 0)
    said = answers(examples, lambda words: auxiliaries(words)[0])
    assert graded(SMALL, examples, said)["accuracy"] == 1


def test_guessing_the_polarity_is_right_half_the_time(generalization):
    said = answers(generalization, lambda words: min(auxiliaries(words)))
    found = graded(FULL, generalization, said)["accuracy"]
    assert found == pytest.approx(0.5, abs=0.02)  # four standard errors of 10,000


def test_accuracy_is_that_of_auxiliaries_where_another_word_is_likelier():
    examples = SMALL.examples("generalization", None, 0)
    logits = logits_saying(examples, examples.targets)
    logits[..., QUESTIONS.ids["yak"]] = 2.0
    found = SMALL.grade(logits, {"targets": examples.targets, "scored": examples.scored})
    assert (found["accuracy"], found["first_word_accuracy"]) == (1, 0)


def test_only_the_second_half_of_a_line_counts_as_its_answer():
    examples = SMALL.examples("validation", None, 0)
    said = examples.targets.clone()
    for row, n in enumerate(examples.label("words").tolist()):
        said[row, : n + 2] = 0
    assert graded(SMALL, examples, said)["line_accuracy"] == 1


def test_a_line_without_its_end_is_not_answered():
    examples = SMALL.examples("validation", None, 0)
    said = torch.where(examples.targets == QUESTIONS.ids["EOS"], 0, examples.targets)
    assert graded(SMALL, examples, said)["line_accuracy"] == 0


def test_without_questions_there_is_no_accuracy():
    examples = SMALL.examples("validation", None, 0)
    copies = examples.at((~examples.label("changed")).nonzero()[:, 0])
    assert math.isnan(graded(SMALL, copies, copies.targets)["accuracy"])


def test_grades_of_a_stack_are_those_of_its_members():
    examples = SMALL.examples("validation", 20, 0)
    batch = {"targets": examples.targets, "scored": examples.scored}
    logits = torch.randn(3, *examples.targets.shape, 71, generator=generator(0)).double()
    together = vmap(SMALL.grade, in_dims=(0, None))(logits, batch)
    alone = [SMALL.grade(each, batch) for each in logits]
    for name in together:
        expected = torch.stack([each[name] for each in alone])
        torch.testing.assert_close(together[name], expected, equal_nan=True)


def test_accuracy_by_subject_averages_to_accuracy():
    examples = SMALL.examples("generalization", None, 0)
    snapshot = Snapshot.of(random_model(SMALL.sizes), examples)
    found = SMALL.by_subject(snapshot)
    counts = [int((examples.label("subject") == SUBJECTS.index(name)).sum()) for name in found]
    mean = np.average(list(found.values()), weights=counts)
    assert list(found) == ["SRC_i", "SRC_t", "ORC"]
    assert SMALL.score(snapshot)["accuracy"] == pytest.approx(mean)


def test_drawn_sentences_cannot_stand_beside_files():
    files = {"train": "a", "validation": "b", "generalization": "c"}
    with pytest.raises(ValueError, match="sentences rc60 are drawn, and files are read"):
        QuestionFormation.model_validate({"sentences": "rc60", "files": files})
