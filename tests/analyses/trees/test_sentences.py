import pytest
import torch

from analyses.trees.sentences import (
    first_word,
    sentence_table,
    sentence_words,
    sentences_only,
    short_sentences,
    word_counts,
)
from hooks import Examples

TOKENS = torch.arange(21).reshape(3, 7)
WORDS = (
    ("<s>", "the", "newt", "does", ".", "quest", "does"),
    ("<s>", "we", "do", ".", "decl", "we", "do"),
    ("<s>", "go", ".", "decl", "go", ".", ""),
)


def examples_of(**changes) -> Examples:
    given = {
        "targets": TOKENS,
        "scored": (TOKENS > 3) & (torch.arange(7) < torch.tensor([7, 7, 6])[:, None]),
        "tokens": TOKENS,
        "lengths": torch.tensor([7, 7, 6]),
        "labels": {"depth": TOKENS, "kind": torch.arange(3)},
        "trees": (((1, 2), 3), (1, 2), 1),
        "words": WORDS,
    }
    return Examples(**given | changes)


def test_sentences_begin_with_the_first_leaf():
    assert first_word(examples_of()) == 1
    assert word_counts(examples_of()).tolist() == [3, 2, 1]


def test_what_follows_a_sentence_is_cut_off():
    cut = sentences_only(examples_of())
    assert cut.tokens is not None
    assert cut.lengths is not None
    assert cut.tokens.tolist() == TOKENS[:, :4].tolist()
    assert cut.lengths.tolist() == [4, 3, 2]
    assert cut.words == (("<s>", "the", "newt", "does"), ("<s>", "we", "do"), ("<s>", "go"))


def test_what_belongs_to_positions_is_cut_alike():
    cut = sentences_only(examples_of())
    assert cut.targets.shape == cut.scored.shape == cut.labels["depth"].shape == (3, 4)
    assert cut.labels["kind"].tolist() == [0, 1, 2]


def test_cutting_twice_changes_nothing():
    once = sentences_only(examples_of())
    twice = sentences_only(once)
    assert twice.words == once.words
    assert torch.equal(twice.model_inputs, once.model_inputs)


def test_words_are_those_of_the_sentence():
    assert sentence_words(examples_of()) == [("the", "newt", "does"), ("we", "do"), ("go",)]


def test_without_words_tokens_stand_for_them():
    assert sentence_words(examples_of(words=None)) == [("1", "2", "3"), ("8", "9"), ("15",)]


def test_a_table_holds_words_by_number_and_gold_brackets():
    table = sentence_table(examples_of())
    texts = [table["vocabulary"][word] for word in table["words"]]
    assert texts == ["the", "newt", "does", "we", "do", "go"]
    assert table["lengths"].tolist() == [3, 2, 1]
    assert table["gold"].tolist() == [[0, 3], [0, 2], [0, 2]]
    assert table["gold_counts"].tolist() == [2, 1, 0]


@pytest.mark.parametrize("trees", [None, ()])
def test_without_trees_there_are_no_sentences(trees):
    with pytest.raises(ValueError, match="these examples have no gold trees"):
        sentences_only(examples_of(trees=trees))


def test_sentences_that_begin_at_different_positions_are_refused():
    with pytest.raises(ValueError, match=r"begin at the positions \[1, 2\]"):
        sentences_only(examples_of(trees=((1, 2), (2, 3), 1)))


@pytest.mark.parametrize(("longest", "counts"), [(2, [2, 1]), (1, [1])])
def test_sentences_of_more_words_are_left_out(longest, counts):
    assert word_counts(short_sentences(examples_of(), longest)).tolist() == counts


def test_where_no_sentence_is_short_enough_the_shortest_stay():
    long = examples_of().at(torch.tensor([0, 1]))
    assert word_counts(short_sentences(long, 1)).tolist() == [2]


def test_where_all_sentences_are_short_enough_nothing_changes():
    examples = examples_of()
    assert short_sentences(examples, 3) is examples


def test_no_words_are_no_sentence():
    with pytest.raises(ValueError, match="longest = 0: a sentence has at least one word"):
        short_sentences(examples_of(), 0)
