import pytest

from interp.tasks.language.grammar import SUBJECTS
from interp.tasks.language.question_formation import QUESTIONS, QuestionFormation
from tests.interp.tasks.samples import shares, unlike
from tests.interp.tasks.trees import right_branching_f1

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


def test_drawn_sentences_cannot_stand_beside_files():
    files = {"train": "a", "validation": "b", "generalization": "c"}
    with pytest.raises(ValueError, match="sentences rc60 are drawn, and files are read"):
        QuestionFormation.model_validate({"sentences": "rc60", "files": files})
