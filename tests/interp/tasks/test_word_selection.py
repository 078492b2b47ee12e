import itertools
from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from analyses import InContextCurve
from analyses.in_context.prompts import late_score, predictions, prompts_of
from hooks import PromptFacts, Snapshot, build
from interp.config.experiment import Experiment
from interp.randomness import generator
from interp.tasks.word_selection import ALL_WORDS, PLAIN, WORDS, Spelling, WordSelection, rule_names
from interp.training.loop import train
from tests.planted import tiny_config

TASK = WordSelection(pairs=3, test_prompts=400)
EXAMPLES = TASK.examples("test", None, 0)
CATEGORY = {word: name for name, words in WORDS.items() for word in words}


def lists(row):
    """The lists of a prompt as words, each with its answer; that of the last is not shown."""
    words = EXAMPLES.words
    assert words is not None
    pairs = " ".join(words[row]).split(" ; ")
    return [each.split(" -> ")[0].removesuffix(" ->").split() for each in pairs]


def answers(row):
    targets, scored = EXAMPLES.targets[row], EXAMPLES.scored[row]
    return [ALL_WORDS[token] for token in targets[scored].tolist()]


def expected(rule, words):
    """The word that a rule chooses, by Python's own means."""
    kind, value = rule.split()
    if kind == "position":
        return words[int(value) - 1]
    if kind == "category":
        (found,) = (word for word in words if CATEGORY[word] == value)
        return found
    return (max if value == "longest" else min)(words, key=len)


def test_words_are_of_three_to_six_letters_two_of_each():
    for words in WORDS.values():
        assert [len(word) for word in words] == [3, 3, 4, 4, 5, 5, 6, 6]
    assert len(set(ALL_WORDS)) == len(ALL_WORDS) == 40


@pytest.mark.parametrize("row", range(0, 400, 10))
def test_a_rule_chooses_the_same_way_throughout_a_prompt(row):
    rule = rule_names(TASK.rules)[EXAMPLES.label("rule")[row]]
    assert [expected(rule, words) for words in lists(row)] == answers(row)


def test_words_of_a_list_differ_in_category_and_length():
    for row in range(400):
        for words in lists(row):
            assert len({CATEGORY[word] for word in words}) == 4
            assert sorted(map(len, words)) == [3, 4, 5, 6]


def test_the_answer_follows_its_arrow():
    shown = EXAMPLES.tokens
    assert shown is not None
    places = EXAMPLES.scored.nonzero()[:, 1].unflatten(0, (400, 3))
    assert (shown.gather(1, places) == PLAIN.arrow[0]).all()
    following = shown.gather(1, places[:, :2] + 1)
    assert torch.equal(following, EXAMPLES.targets.gather(1, places[:, :2]))
    assert places[0, 2] == shown.shape[1] - 1 == TASK.sizes.n_ctx - 1


def test_labels_are_the_rule_and_the_place_of_the_last_answer():
    for row in range(20):
        assert lists(row)[-1][EXAMPLES.label("answer")[row]] == answers(row)[-1]
    assert EXAMPLES.label("rule").unique().tolist() == list(range(11))


def test_rules_can_be_left_out():
    task = WordSelection(rules=("length",), pairs=3)
    assert task.facts(PromptFacts).asked_names == ("length shortest", "length longest")
    assert task.examples("test", None, 0).label("rule").unique().tolist() == [0, 1]


def preferring(tokens):
    """Logits that like some tokens, the more the later they are named."""
    logits = torch.zeros(400, TASK.sizes.n_ctx, 42)
    for strength, token in enumerate(tokens, start=1):
        logits[..., token] = strength
    return logits


def lists_of(rule):
    """Each list of words that a prompt of a rule may show, as often as it is likely."""
    kind, value = rule.split()
    for categories in itertools.permutations(WORDS, 4):
        places = range(4) if kind == "category" and value not in categories else [None] * 4
        for place in places:
            put_in = [value if at == place else name for at, name in enumerate(categories)]
            for order in itertools.permutations(range(4)):
                yield tuple(WORDS[name][2 * at] for name, at in zip(put_in, order, strict=True))


@pytest.mark.parametrize(
    ("rules", "rounded"),
    [
        (("position", "category", "length"), 0.295),
        (("category", "length"), 0.321),
        (("length",), 0.5),
        (("position",), 0.25),
        (("category",), 0.25),
        (("length", "position"), 0.333),
    ],
)
def test_chance_is_the_best_guess_from_a_list_alone(rules, rounded):
    names, votes = rule_names(rules), Counter()
    for rule in names:
        votes.update((words, expected(rule, words)) for words in lists_of(rule))
    best = Counter()
    for (words, _), count in votes.items():
        best[words] = max(best[words], count)
    chance = WordSelection(rules=rules).facts.chance
    assert chance == pytest.approx(best.total() / votes.total(), rel=1e-12)
    assert chance == pytest.approx(rounded, abs=5e-4)


def test_the_longest_word_is_as_often_right_as_chance_says():
    examples = WordSelection(test_prompts=8000, pairs=2).examples("test", None, 0)
    assert examples.words is not None
    last = [words[-5:-1] for words in examples.words]
    places = [max(range(4), key=lambda at: len(words[at])) for words in last]
    share = (torch.tensor(places) == examples.label("answer")).double().mean()
    assert share == pytest.approx(examples.facts.chance, abs=0.02)  # 3.9 deviations


def test_only_words_of_the_list_compete():
    batch = {"targets": EXAMPLES.targets, "scored": EXAMPLES.scored, "tokens": EXAMPLES.tokens}
    right = torch.nn.functional.one_hot(EXAMPLES.targets, 42).double()
    right[..., 40:] = 5.0  # both signs are likelier, and no words
    assert TASK.grade(right, batch)["accuracy"] == 1
    is_there = (lists(0)[-1]).count("cat")
    assert is_there in (0, 1)
    share = TASK.grade(preferring([ALL_WORDS.index("cat")]).double(), batch)["accuracy"]
    assert 0.15 < share < 0.35


def test_analyses_choose_among_the_same_words():
    model = build(tiny_config(d_model=16), TASK.sizes, seed=0)
    snapshot = Snapshot.of(model, EXAMPLES)
    answered = predictions(snapshot, prompts_of(EXAMPLES, ""))
    tokens, places = EXAMPLES.tokens, EXAMPLES.scored.nonzero()[:, 1].unflatten(0, (400, 3))
    assert tokens is not None
    shown = tokens.gather(1, (places[..., None] + torch.tensor([-4, -3, -2, -1])).flatten(1))
    assert (answered[..., None] == shown.unflatten(1, (3, 4))).any(2).all()
    accuracy = (
        (answered == EXAMPLES.targets[EXAMPLES.scored].unflatten(0, (400, 3))).double().mean()
    )
    assert TASK.score(snapshot)["accuracy"] == pytest.approx(float(accuracy))
    assert late_score(snapshot) == pytest.approx(float(accuracy))  # of three answers


def test_another_spelling_writes_the_same_prompts():
    names = {1000 + index: word for index, word in enumerate(ALL_WORDS)} | {7: "=", 8: ">", 9: "."}
    other = Spelling(tuple(range(1000, 1040)), (7, 8), (9,), names)
    found = TASK.examples_in(other, "test", None, 0)
    assert found.tokens is not None
    assert found.tokens.shape == (400, other.width(3))
    places = found.scored.nonzero()[:, 1].unflatten(0, (400, 3))
    assert (found.tokens.gather(1, places) == 8).all()
    assert torch.equal(found.targets[found.scored] - 1000, EXAMPLES.targets[EXAMPLES.scored])
    asked = places[..., None] + torch.tensor(other.candidates)
    listed = found.tokens.gather(1, asked.flatten(1)).unflatten(1, (3, 4))
    assert (listed == found.targets[found.scored].unflatten(0, (400, 3))[..., None]).any(2).all()


def test_the_curve_is_grouped_by_rule():
    model = build(tiny_config(), TASK.sizes, seed=0)
    result = InContextCurve.measure(Snapshot.of(model, EXAMPLES))
    assert len(result.groups) == 11
    assert result.curves == ("model", "most_frequent")


def test_it_can_be_trained_on(tmp_path):
    table = {
        "name": "words", "task": {"name": "word_selection", "pairs": 3, "test_prompts": 20},
        "model": {"d_model": 8, "n_heads": 2},
        "training": {"steps": 4, "batch_size": 8, "chunk": 2, "evaluate": {"every": 4}},
    }  # fmt: skip
    metrics = train(Experiment.model_validate(table), tmp_path / "run", device="cpu").metrics
    assert metrics is not None
    assert list(metrics) == ["step", "test.loss", "test.accuracy", "test.late_accuracy"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 1}, "pairs"),
        ({"rules": []}, "at least 1 item"),
        ({"rules": ["rhyme"]}, "rules"),
        ({"rules": ["length", "length"]}, "name each kind once"),
    ],
)
def test_options_that_are_wrong_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        WordSelection.model_validate(options)


def test_data_without_a_count_are_refused():
    with pytest.raises(ValueError, match="draws without end"):
        TASK.data(None, generator(0))
