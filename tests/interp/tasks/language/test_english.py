import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.randomness import generator
from interp.tasks.language.english import Language
from interp.tasks.language.grammar import (
    CLASSES,
    PREDICATES,
    SUBJECTS,
    draw,
    grammar,
    numbered,
    without_auxiliaries,
)
from interp.tasks.language.question_formation import QUESTIONS, QuestionFormation
from interp.tasks.language.tense_inflection import TENSES, TenseInflection
from tests.interp.tasks import trees

TASKS = (
    QuestionFormation(train_lines=300, validation_lines=100, generalization_lines=200),
    TenseInflection(train_lines=300, validation_lines=100, generalization_lines=200),
)
BOTH = pytest.mark.parametrize("task", TASKS, ids=["questions", "tense"])
LANGUAGES: tuple[Language, ...] = (QUESTIONS, TENSES)
ANY = given(
    st.sampled_from(TASKS),
    st.sampled_from(["train", "validation", "generalization"]),
    st.integers(0, 2**40),
)


def sentence(examples, row):
    return examples.words[row][1 : 1 + int(examples.label("words")[row])]


@pytest.mark.parametrize("has_auxiliaries", [True, False])
def test_no_two_templates_have_the_same_word_classes(has_auxiliaries):
    templates = grammar(has_auxiliaries).templates
    assert len(set(templates)) == len(templates) == len(SUBJECTS) * len(PREDICATES)


def test_the_longest_sentences_have_16_words_and_13_without_auxiliaries():
    assert (grammar(True).lengths.max(), grammar(False).lengths.max()) == (16, 13)


@pytest.mark.parametrize(
    ("subject", "predicate", "classes"),
    [
        ("bare", "intransitive", "Det N Aux Vi"),
        ("PP", "bare", "Det N P Det N Aux Vt Det N"),
        ("SRC_i", "intransitive", "Det N Rel Aux Vi Aux Vi"),
        ("SRC_t", "PP", "Det N Rel Aux Vt Det N Aux Vt Det N P Det N"),
        ("ORC", "ORC", "Det N Rel Det N Aux Vt Aux Vt Det N Rel Det N Aux Vt"),
    ],
)
def test_templates_hold_the_classes_of_their_kinds(subject, predicate, classes):
    place = SUBJECTS.index(subject) * len(PREDICATES) + PREDICATES.index(predicate)
    assert " ".join(grammar(True).templates[place]) == classes


def test_without_auxiliaries_an_object_relative_is_a_clause_of_subject_and_verb():
    tree = (("Det", "N"), ("Rel", (("Det", "N"), ("Aux", "Vt"))))
    assert without_auxiliaries(tree) == (("Det", "N"), ("Rel", (("Det", "N"), "Vt")))


def test_leaves_are_numbered_from_left_to_right():
    assert numbered((("a", "b"), ("c", ("d", "e"))), 3) == ((3, 4), (5, (6, 7)))


@given(st.sampled_from([True, False]), st.integers(0, 29))
def test_numbering_a_tree_keeps_its_shape(has_auxiliaries, place):
    found = grammar(has_auxiliaries)
    assert trees.leaves(found.trees[place]) == list(range(1, len(found.templates[place]) + 1))


@ANY
@settings(max_examples=20)
def test_every_gold_tree_is_binary_and_holds_each_word_of_the_sentence_once(task, split, seed):
    examples = task.examples(split, None, seed)
    assert all(trees.is_binary(tree) for tree in examples.trees)
    words = examples.label("words").tolist()
    expected = [list(range(1, n + 1)) for n in words]
    assert [trees.leaves(tree) for tree in examples.trees] == expected


@ANY
@settings(max_examples=20)
def test_a_line_is_sos_a_sentence_a_marker_and_as_many_words_again(task, split, seed):
    examples = task.examples(split, None, seed)
    for row, n in enumerate(examples.label("words").tolist()):
        words = examples.words[row]
        assert len(words) == 2 * n + 4
        assert (words[0], words[n + 1], words[n + 2] in task.language.markers) == ("SOS", ".", True)


@ANY
@settings(max_examples=20)
def test_a_line_that_is_not_changed_is_copied(task, split, seed):
    examples = task.examples(split, None, seed)
    for row in (~examples.label("changed")).nonzero()[:, 0].tolist():
        n = int(examples.label("words")[row])
        assert examples.words[row][n + 2] == task.language.markers[0]
        assert examples.words[row][n + 3 :] == (*sentence(examples, row), ".")


@ANY
@settings(max_examples=20)
def test_targets_are_the_next_tokens_up_to_eos_and_all_are_scored(task, split, seed):
    examples = task.examples(split, None, seed)
    lengths = examples.lengths[:, None]
    places = torch.arange(examples.tokens.shape[1])
    shifted = torch.cat([examples.tokens[:, 1:], torch.zeros_like(examples.tokens[:, :1])], dim=1)
    eos = torch.tensor(task.vocabulary.index("EOS"))
    assert torch.equal(examples.targets, torch.where(places == lengths - 1, eos, shifted))
    assert torch.equal(examples.scored, places < lengths)


@ANY
@settings(max_examples=20)
def test_labels_name_the_subjects_number_and_the_main_clauses_position(task, split, seed):
    examples = task.examples(split, None, seed)
    form = {word for words in task.language.source["Aux"] for word in words}
    form |= {word for name in ("Vi", "Vt") for word in task.language.source[name][0]}
    rows = zip(
        examples.words, examples.label("main").tolist(), examples.label("number"), strict=True
    )
    for words, main, number in rows:
        assert words[main] in form
        assert words[2].endswith("s") == bool(number) or words[2] in ("walrus", "tyrannosaurus")


@BOTH
def test_the_main_position_is_the_first_after_the_subject(task):
    examples = task.examples("train", None, 0)
    expected = [trees.leaves(subject)[-1] + 1 for subject, _ in examples.trees]
    assert examples.label("main").tolist() == expected


@pytest.mark.parametrize(("language", "count"), [(QUESTIONS, 68), (TENSES, 98)])
def test_there_are_as_many_words_as_in_the_published_data(language, count):
    assert len(language.vocabulary) == count + 3  # PAD, EOS, SOS


@pytest.mark.parametrize("language", LANGUAGES)
def test_ids_follow_code_points_with_eos_and_sos_last(language):
    words = language.vocabulary
    assert list(words[1:-2]) == sorted(set(words[1:-2]))
    assert (words[0], words[-2:]) == ("PAD", ("EOS", "SOS"))


def test_the_first_words_are_signs_then_uppercase():
    assert QUESTIONS.vocabulary[1:4] == (".", "?", "above")
    assert TENSES.vocabulary[1:5] == (".", "PAST", "PRESENT", "above")


@BOTH
def test_no_line_is_drawn_twice_within_or_between_splits(task):
    lines = [line for split in task.splits[:3] for line in task.examples(split, None, 3).words]
    assert len(set(lines)) == len(lines) == 600


@BOTH
def test_training_data_are_the_examples_of_the_train_split(task):
    data, examples = task.data(None, generator(4, 0)), task.examples("train", None, 4)
    assert torch.equal(data["tokens"], examples.tokens)
    assert torch.equal(data["targets"], examples.targets)
    assert torch.equal(data["scored"], examples.scored)


@BOTH
def test_flat_lines_are_those_of_the_train_split_with_eos(task):
    flat, examples = task.flat(generator(4, 0)), task.examples("train", None, 4)
    lines = flat["flat"].tensor_split(flat["offsets"][1:-1])
    eos = [task.vocabulary.index("EOS")]
    rows = zip(examples.tokens.tolist(), examples.lengths.tolist(), strict=True)
    assert [line.tolist() for line in lines] == [row[:length] + eos for row, length in rows]


@BOTH
def test_the_last_width_holds_the_longest_line_and_is_n_ctx(task):
    longest = 2 * int(task.language.grammar.lengths.max()) + 5
    assert task.widths[-1] == task.sizes.n_ctx == longest


@BOTH
def test_more_lines_begin_with_the_same_ones(task):
    more = task.model_copy(update={"train_lines": 20_000, "validation_lines": 10})
    few = task.examples("train", None, 5).words
    assert more.examples("train", None, 5).words[: len(few)] == few


@BOTH
def test_another_seed_draws_other_lines(task):
    first, second = (set(task.examples("generalization", None, seed).words) for seed in (0, 1))
    assert len(first & second) < len(first) / 10


@BOTH
def test_a_count_draws_so_many_lines_of_the_split(task):
    drawn = task.examples("validation", 7, 0)
    assert len(drawn) == len(drawn.trees) == 7
    assert set(drawn.words) <= set(task.examples("validation", None, 0).words)


@pytest.mark.parametrize("has_auxiliaries", [True, False])
def test_words_of_a_class_are_uniform(has_auxiliaries):
    found = grammar(has_auxiliaries)
    weights = ([1.0] * 5, [1.0] * 6)
    drawn = draw(found, weights, 20_000, np.random.default_rng(0))
    nouns = drawn.choices[found.codes[drawn.template] == CLASSES.index("N")]
    shares = np.bincount(nouns, minlength=26) / len(nouns)
    assert np.abs(shares - 1 / 26).max() < 5 * math.sqrt(1 / 26 / len(nouns))


@pytest.mark.parametrize("kind", [QuestionFormation, TenseInflection])
def test_a_task_without_a_number_of_lines_is_refused(kind):
    with pytest.raises(ValueError, match="validation_lines must be given where no files are read"):
        kind(validation_lines=None)
