import pytest
import torch

from hooks.circuits.pairs import Pairs
from interp.tasks.language.english import read_lines
from interp.tasks.language.grammar import (
    INTRANSITIVE,
    INTRANSITIVE_PAST,
    NOUNS,
    PLURALS,
    RELATIVIZERS,
    TRANSITIVE,
    TRANSITIVE_PAST,
)
from interp.tasks.language.tense_inflection import TENSES, TenseInflection
from tests.interp.tasks.said import said

SMALL = TenseInflection(train_lines=1500, validation_lines=300, generalization_lines=200)
STEMS: dict[str, str] = dict(
    zip(INTRANSITIVE_PAST + TRANSITIVE_PAST, INTRANSITIVE + TRANSITIVE, strict=True)
)
ALL = [(split, change) for split in SMALL.splits for change in SMALL.changes]


def pairs_of(split: str, change: str) -> Pairs:
    return SMALL.input_pairs(split, None, 0, change)


def sources(examples) -> list[list[str]]:
    return [list(words[1 : words.index(".")]) for words in said(examples)]


def other_number(noun: str) -> str:
    return dict(zip(NOUNS + PLURALS, PLURALS + NOUNS, strict=True))[noun]


def present(words: list[str]) -> tuple[list[str], int]:
    """A sentence in the present, and the place of its main verb, by words alone.

    The main verb is the second verb where a relative clause follows the subject's noun, and agrees
    with that noun; other verbs agree with the noun before them.
    """
    verbs = [place for place, word in enumerate(words) if word in STEMS]
    main = verbs[words[2] in RELATIVIZERS]
    spoken, plural = [], False
    for place, word in enumerate(words):
        plural = word in PLURALS if word in NOUNS + PLURALS else plural
        agrees = words[1] in PLURALS if place == main else plural
        spoken.append(STEMS[word] + "s" * (not agrees) if place in verbs else word)
    return spoken, main


@pytest.mark.parametrize(("split", "change"), ALL)
def test_both_lines_are_of_the_language_up_to_their_main_verb(split, change, tmp_path):
    pairs = pairs_of(split, change)
    assert len(pairs) > 30
    for examples in (pairs.clean, pairs.corrupted):
        lines = []
        for words, all_words in zip(sources(examples), said(examples), strict=True):
            spoken, main = present(words)
            assert all_words == ("SOS", *words, ".", "PRESENT", *spoken[:main])
            lines.append(f"{' '.join(words)} . PRESENT\t{' '.join(spoken)} .")
        file = tmp_path / "lines.txt"
        file.write_text("\n".join(lines) + "\n")
        assert read_lines(str(file), TENSES).is_changed.all()


@pytest.mark.parametrize(("split", "change"), ALL)
def test_the_right_answer_is_the_main_verbs_form(split, change):
    pairs = pairs_of(split, change)
    right, wrong = (
        [TENSES.vocabulary[token] for token in classes.tolist()] for classes in pairs.classes
    )
    for row, (clean, corrupted) in enumerate(
        zip(sources(pairs.clean), sources(pairs.corrupted), strict=True)
    ):
        spoken, main = present(clean)
        assert right[row] == spoken[main]
        assert {right[row], wrong[row]} == {STEMS[clean[main]], STEMS[clean[main]] + "s"}
        answer = present(corrupted)[0][main]
        assert answer == (right[row] if change == "distractor" else wrong[row])


@pytest.mark.parametrize(("split", "change"), ALL)
def test_nouns_whose_number_changes_are_all_that_differs_in_the_past(split, change):
    pairs = pairs_of(split, change)
    for row, (clean, corrupted) in enumerate(
        zip(sources(pairs.clean), sources(pairs.corrupted), strict=True)
    ):
        main = present(clean)[1]
        nouns = [place for place in range(main) if clean[place] in NOUNS + PLURALS]
        wanted = {"number": nouns[:1], "both": [nouns[0], nouns[-1]], "distractor": nouns[-1:]}
        differ = [place for place in range(len(clean)) if clean[place] != corrupted[place]]
        assert differ == wanted[change]
        for place in differ:
            assert corrupted[place] == other_number(clean[place])
        assert pairs.roles["noun"][row] == 2
        assert pairs.roles["verb"][row] == main + 1
        assert said(pairs.clean)[row][pairs.roles["PRESENT"][row]] == "PRESENT"
        assert said(pairs.clean)[row][pairs.roles["copied noun"][row]] == clean[1]
        assert ("distractor" in pairs.roles) == (change != "number" or split == "generalization")
        if "distractor" in pairs.roles:
            assert pairs.roles["distractor"][row] == nouns[-1] + 1
            copied = pairs.roles["copied distractor"][row]
            assert said(pairs.clean)[row][copied] == clean[nouns[-1]]
    assert torch.equal(pairs.roles["query"], pairs.position)


@pytest.mark.parametrize("split", SMALL.splits)
def test_both_numbers_changed_leave_the_line_of_its_kind(split):
    pairs = pairs_of(split, "both")
    for examples in (pairs.clean, pairs.corrupted):
        assert (examples.label("conflict") == (split == "generalization")).all()


def test_one_number_changed_makes_the_nouns_of_generalization_agree():
    for change in ("number", "distractor"):
        pairs = pairs_of("generalization", change)
        assert pairs.clean.label("conflict").all()
        assert not pairs.corrupted.label("conflict").any()


def test_no_corrupted_line_is_trained_or_validated_on():
    lines = {
        split: {words[: words.index(".") + 2] for words in said(SMALL.examples(split, None, 0))}
        for split in ("train", "validation")
    }
    others = {"train": ["validation"], "validation": ["train"], "generalization": [*lines]}
    for split, change in ALL:
        found = {words[: words.index(".") + 2] for words in said(pairs_of(split, change).corrupted)}
        assert found
        for other in others[split]:
            assert not found & lines[other]
