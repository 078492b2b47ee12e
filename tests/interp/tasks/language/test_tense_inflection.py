import numpy as np
import pytest
import torch

from hooks import Snapshot, build
from interp.tasks.language.grammar import INTRANSITIVE, NOUNS, PLURALS, TRANSITIVE
from interp.tasks.language.tense_inflection import PRESENT, TAGS, TENSES, TenseInflection, main_verb
from tests.interp.tasks.samples import shares, unlike
from tests.interp.tasks.trees import right_branching_f1
from tests.planted import random_model, tiny_config

SMALL = TenseInflection(train_lines=300, validation_lines=60, generalization_lines=80)
VERBS = dict(
    zip(
        (*PRESENT["Vi"][0], *PRESENT["Vt"][0], *INTRANSITIVE, *TRANSITIVE),
        2 * (*INTRANSITIVE, *TRANSITIVE),
        strict=True,
    )
)


def nearest(words):
    """The present in which every verb agrees with the noun before it."""
    said, plural = [], False
    for word in words:
        plural = word in PLURALS if word in NOUNS + PLURALS else plural
        is_verb = word in VERBS
        said.append(VERBS[word] + ("" if plural else "s") if is_verb else word)
    return said


def right(examples):
    rows = zip(examples.words, examples.label("words").tolist(), strict=True)
    return [list(words[n + 3 : 2 * n + 3]) for words, n in rows]


@pytest.fixture
def scored(monkeypatch):
    """Paper's and lenient accuracy of a model that answers with a function of the right words."""

    def score(answer, split="generalization"):
        def decoded(task, snapshot):
            return [answer(words) for words in right(snapshot.examples)]

        monkeypatch.setattr(TenseInflection, "decoded", decoded)
        model = build(tiny_config(), SMALL.sizes, seed=0)
        found = SMALL.score(Snapshot.of(model, SMALL.examples(split, None, 0)))
        return found["accuracy"], found["verb_accuracy"]

    return score


@pytest.fixture(scope="module")
def drawn_10k():
    """Lines 12,500 to 22,500, among which the published test lines seem to lie."""
    task = TenseInflection(train_lines=12_500, validation_lines=10_000)
    return task.examples("validation", None, 0)


@pytest.fixture(scope="module")
def generalization():
    return TenseInflection().examples("generalization", None, 0)


@pytest.fixture
def snapshot():
    model = random_model(SMALL.sizes, n_layers=2)
    return Snapshot.of(model, SMALL.examples("validation", 30, 0))


def test_sentences_are_as_long_as_the_published_ones(drawn_10k):
    published = {
        3: 0.0532, 5: 0.1342, 6: 0.0818, 7: 0.1176, 8: 0.1723, 9: 0.1301, 10: 0.06, 11: 0.1184,
        12: 0.099, 13: 0.0334,
    }  # fmt: skip
    assert not unlike(shares(drawn_10k.label("words")), published, 10_000, 10_000)


def test_the_share_of_lines_in_the_present_is_the_published_one(drawn_10k):
    found = shares(drawn_10k.label("changed"))
    assert not unlike(found, {False: 0.5826, True: 0.4174}, 10_000, 10_000)


def test_lines_in_the_past_conflict_as_often_as_the_published_ones(drawn_10k):
    past = drawn_10k.label("conflict")[~drawn_10k.label("changed")]
    assert not unlike(shares(past), {False: 4078 / 5826, True: 1748 / 5826}, len(past), 5826)


def test_sentences_branch_to_the_right_as_much_as_the_published_ones(drawn_10k, generalization):
    # The mean over 10,000 sentences has a standard error of about 0.002.
    assert right_branching_f1(drawn_10k.trees) == pytest.approx(0.5003, abs=0.01)
    assert right_branching_f1(generalization.trees) == pytest.approx(0.4122, abs=0.01)


def test_lines_for_generalization_have_the_published_lengths_and_kinds(generalization):
    lengths = {
        6: 0.1537, 7: 0.0999, 8: 0.1521, 9: 0.1017, 10: 0.0477, 11: 0.1787, 12: 0.2037, 13: 0.0625,
    }  # fmt: skip
    kinds = {1: 0.6045, 3: 0.195, 4: 0.2005}
    assert not unlike(shares(generalization.label("words")), lengths, 10_000, 10_000)
    assert not unlike(shares(generalization.label("subject")), kinds, 10_000, 10_000)


def test_the_nearest_noun_always_misleads_where_it_matters(generalization):
    assert generalization.label("changed").all()
    assert generalization.label("conflict").all()


def test_the_nearest_noun_never_misleads_in_training():
    examples = SMALL.examples("train", None, 0)
    assert not (examples.label("changed") & examples.label("conflict")).any()


def test_the_conflict_label_is_whether_the_two_rules_differ():
    examples = SMALL.examples("validation", None, 0)
    present = examples.at(examples.label("changed").nonzero()[:, 0])
    differs = [nearest(words) != words for words in right(present)]
    assert differs == present.label("conflict").tolist()


def test_every_verb_of_the_present_agrees_with_its_subject():
    examples = SMALL.examples("generalization", None, 0)
    rows = zip(right(examples), examples.label("main").tolist(), strict=True)
    for words, main in rows:
        others = [word for place, word in enumerate(nearest(words)) if place != main - 1]
        assert others == [word for place, word in enumerate(words) if place != main - 1]
        assert words[main - 1].endswith("s") == (words[1] in NOUNS)


def test_past_and_plural_present_of_read_are_one_word():
    words = [word for name in ("Vi", "Vt") for form in PRESENT[name] for word in form]
    past = {word for name in ("Vi", "Vt") for word in TENSES.source[name][0]}
    assert [word for word in words if word in past] == ["read"]


def test_all_forms_of_all_verbs_have_one_tag():
    verbs = [*VERBS, *(word for name in ("Vi", "Vt") for word in TENSES.source[name][0])]
    assert {TAGS[word] for word in verbs} == {"V"}


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ("my yak giggled", "giggled"),
        ("my yak near her newts giggles", "giggles"),
        ("my yak who giggled slept", "slept"),
        ("my yak that the newts admired slept", "slept"),
        ("my yak admired the newt that slept", "admired"),
        ("my yak who giggled", None),
        ("my yak", None),
        ("", None),
    ],
)
def test_the_main_verb_is_the_second_after_a_relativizer_and_otherwise_the_first(words, verb):
    assert main_verb(words.split()) == verb


def test_right_answers_are_right(scored):
    assert scored(lambda words: words) == (1.0, 1.0)


def test_agreeing_with_the_nearest_noun_is_never_right_where_it_matters(scored):
    assert scored(nearest) == (0.0, 0.0)


def test_one_word_too_many_is_wrong_although_the_verb_is_right(scored):
    assert scored(lambda words: [*words, "yak"]) == (0.0, 1.0)


def test_another_word_of_the_same_class_is_right(scored):
    assert scored(lambda words: ["her", *words[1:]]) == (1.0, 1.0)


@pytest.mark.parametrize("answer", [[], ["yak"]])
def test_an_answer_without_a_verb_is_wrong(scored, answer):
    assert scored(lambda words: answer, "validation") == (0.0, 0.0)


def test_what_is_said_is_greedy_decoding(snapshot):
    stop = TENSES.ids["EOS"]
    expected = []
    rows = snapshot.examples.model_inputs.tolist()
    for row, n in zip(rows, snapshot.examples.label("words").tolist(), strict=True):
        tokens = row[: n + 3]
        while len(tokens) <= SMALL.sizes.n_ctx and tokens[-1] != stop:
            with snapshot.running() as model, torch.no_grad():
                tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        said = [TENSES.vocabulary[token] for token in tokens[n + 3 :] if token != stop]
        expected.append(said[:-1] if said[-1:] == ["."] else said)
    assert SMALL.decoded(snapshot) == expected


def test_lines_answered_without_a_fault_are_said_as_they_should_be(snapshot, monkeypatch):
    targets = torch.nn.functional.one_hot(snapshot.examples.targets, 101).double()
    object.__setattr__(snapshot, "_memory", {"logits": targets})
    monkeypatch.setattr(
        "interp.tasks.language.tense_inflection.greedy", lambda *args, **options: []
    )
    assert SMALL.decoded(snapshot) == right(snapshot.examples)


def test_a_score_has_the_loss_and_three_accuracies(snapshot):
    found = SMALL.score(snapshot)
    assert list(found) == ["loss", "accuracy", "verb_accuracy", "line_accuracy"]
    assert found["accuracy"] <= found["verb_accuracy"]


def test_so_many_lines_are_scored(snapshot):
    few = SMALL.model_copy(update={"scored_lines": 7})
    sample = snapshot.on(snapshot.examples.drawn(7, 0))
    assert few.score(snapshot) == pytest.approx(SMALL.score(sample))


def test_the_loss_is_over_every_real_position(snapshot):
    losses = torch.nn.functional.cross_entropy(
        snapshot.logits()[snapshot.examples.scored],
        snapshot.examples.targets[snapshot.examples.scored],
    )
    assert SMALL.score(snapshot)["loss"] == pytest.approx(float(losses))
    assert int(snapshot.examples.scored.sum()) == int(np.sum(snapshot.examples.lengths.numpy()))
