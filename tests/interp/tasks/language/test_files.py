import pytest
import torch

from interp.randomness import generator
from interp.tasks.language.base import Files
from interp.tasks.language.dyck import Dyck
from interp.tasks.language.english import read_lines
from interp.tasks.language.question_formation import QUESTIONS, QuestionFormation
from interp.tasks.language.tense_inflection import TENSES, TenseInflection

SPLITS = ("train", "validation", "generalization")
QUESTION_LINES = {
    "train": [
        "my walrus doesn't giggle . quest\tdoesn't my walrus giggle ?",
        "my newt that does giggle doesn't sleep . decl\tmy newt that does giggle doesn't sleep .",
    ],
    "validation": ["our yaks near her newt do eat . quest\tdo our yaks near her newt eat ?"],
    "generalization": [
        "my newt that does giggle doesn't sleep . quest\tdoesn't my newt that does giggle sleep ?"
    ],
}
TENSE_LINES = {
    "train": ["my quail read . PRESENT\tmy quail reads ."],
    "validation": [
        "some newts who slept amused the yak . PAST\tsome newts who slept amused the yak ."
    ],
    "generalization": [
        "my quail upon my newts remembered her yak . PRESENT\t"
        "my quail upon my newts remembers her yak ."
    ],
}
BRACKET_LINES = {
    "train": ["(a a) (b b) END", "(a (b b) a) END"],
    "validation": ["(b b) (a a) END"],
    "generalization": ["(a (b (a a) b) a) END"],
}
CASES = pytest.mark.parametrize(
    ("kind", "lines"),
    [(QuestionFormation, QUESTION_LINES), (TenseInflection, TENSE_LINES), (Dyck, BRACKET_LINES)],
)


@pytest.fixture
def write(tmp_path):
    """Writes lines of each split, and gives the table of their files."""

    def write(lines):
        paths = {split: tmp_path / f"any.{split}" for split in SPLITS}
        for split, path in paths.items():
            path.write_text("".join(f"{line}\n" for line in lines[split]), encoding="utf-8")
        return {split: str(path) for split, path in paths.items()}

    return write


@CASES
def test_words_are_those_of_the_files(kind, lines, write):
    task = kind.model_validate({"files": write(lines)})
    for split in SPLITS:
        found = [" ".join(words[1:]) for words in task.examples(split, None, 0).words]
        assert found == [line.replace("\t", " ").removesuffix(" END") for line in lines[split]]


@CASES
def test_training_data_are_those_of_the_file(kind, lines, write):
    task = kind.model_validate({"files": write(lines)})
    data, examples = task.data(None, generator(0)), task.examples("train", None, 0)
    assert torch.equal(data["tokens"], examples.tokens)
    assert task.train_count == len(task.flat(generator(0))["offsets"]) - 1 == len(lines["train"])


@CASES
def test_lines_that_are_read_are_not_drawn(kind, lines, write):
    assert not kind.model_validate({"files": write(lines)}).draws_split


@CASES
def test_files_are_read_to_their_end_or_to_a_count(kind, lines, write):
    files = write(lines)
    task = kind.model_validate({"files": files})
    assert task.train_lines is None
    assert kind.model_validate({"files": files, "train_lines": 1}).train_count == 1


@CASES
def test_a_task_that_reads_files_comes_back_from_its_own_table(kind, lines, write):
    task = kind.model_validate({"files": write(lines)})
    assert kind.model_validate(task.model_dump(mode="json", exclude_none=True)) == task


@CASES
@pytest.mark.parametrize("split", ["validation", "generalization"])
def test_a_line_trained_on_is_refused_elsewhere(kind, lines, split, write):
    more = lines | {split: [*lines[split], lines["train"][0]]}
    task = kind.model_validate({"files": write(more)})
    with pytest.raises(ValueError, match=rf"any\.{split}:2: this line is in .*any\.train too"):
        task.examples(split, None, 0)


@pytest.mark.parametrize(
    ("kind", "lines"), [(QuestionFormation, QUESTION_LINES), (TenseInflection, TENSE_LINES)]
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_line_that_tells_the_rules_apart_is_refused_in_domain(kind, lines, split, write):
    more = lines | {split: [*lines[split], *lines["generalization"]]}
    task = kind.model_validate({"files": write(more)})
    place = rf"any\.{split}:{len(more[split])}: this line tells the two rules apart"
    with pytest.raises(ValueError, match=place + ", and only generalization may: take it out"):
        task.examples(split, None, 0)


@pytest.mark.parametrize(
    ("kind", "lines", "line"),
    [
        (QuestionFormation, QUESTION_LINES, QUESTION_LINES["validation"][0]),
        (QuestionFormation, QUESTION_LINES, "her newt that does eat does swim . decl\t"
         "her newt that does eat does swim ."),
        (TenseInflection, TENSE_LINES, "my newt by our yaks ate . PAST\tmy newt by our yaks ate ."),
        (TenseInflection, TENSE_LINES, "my newt by our yak ate . PRESENT\t"
         "my newt by our yak eats ."),
    ],
)  # fmt: skip
def test_a_line_that_fits_both_rules_is_refused_for_generalization(kind, lines, line, write):
    task = kind.model_validate(
        {"files": write(lines | {"generalization": [*lines["generalization"], line]})}
    )
    with pytest.raises(
        ValueError, match=r"any\.generalization:2: this line does not tell the two rules apart"
    ):
        task.examples("generalization", None, 0)


@CASES
def test_a_missing_file_is_named(kind, lines, write):
    task = kind.model_validate({"files": write(lines) | {"validation": "nowhere.txt"}})
    with pytest.raises(FileNotFoundError, match=r"data file .*/nowhere\.txt does not exist"):
        task.examples("validation", None, 0)


@pytest.mark.parametrize(
    ("task", "language"),
    [
        (QuestionFormation(train_lines=3000, generalization_lines=500), QUESTIONS),
        (TenseInflection(train_lines=3000, generalization_lines=500), TENSES),
    ],
)
def test_what_is_drawn_is_parsed_as_it_was_derived(task, language, tmp_path):
    path = tmp_path / "lines.txt"
    for split in SPLITS:
        lines = task._lines(split, generator(0, 0))
        path.write_text("\n".join(language.texts(lines)), encoding="utf-8")
        again = read_lines(str(path), language)
        assert again.row_keys() == lines.row_keys()


def test_a_gold_tree_is_that_of_the_words(write):
    task = QuestionFormation(files=Files(**write(QUESTION_LINES)))
    # [[[my newt] [that [does giggle]]] [doesn't sleep]]
    expected = (((1, 2), (3, (4, 5))), (6, 7))
    assert task.examples("generalization", None, 0).trees == (expected,)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("my yak does eat . decl", r":2: not source<TAB>target: there is no tab"),
        ("", r":2: not source<TAB>target: there is no tab"),
        ("my yak does eat decl\tx", r":2: the source does not end with \. decl or \. quest"),
        ("my yak does eat . PAST\tx", r":2: the source does not end with \. decl or \. quest"),
        ("my cat does eat . decl\tx", r":2: 'cat' is no word of a sentence here"),
        ("my  yak does eat . decl\tx", r":2: '' is no word of a sentence here"),
        ("my yak eat . decl\tx", r":2: no sentence has the word classes Det N Vi"),
        ("my yak do eat . decl\tmy yak do eat .", r":2: this line should be 'my yak does eat \."),
        (
            "my yak does eat . decl\tmy yak does eat ?",
            r":2: this line should be .*<TAB>my yak does",
        ),
        ("my yak does eat . quest\tmy yak does eat .", r":2: this line should be .*<TAB>does my"),
    ],
)
def test_any_other_line_is_refused_with_its_file_and_number(line, message, write):
    files = write(QUESTION_LINES | {"train": [QUESTION_LINES["train"][0], line]})
    with pytest.raises(ValueError, match=r"any\.train" + message):
        QuestionFormation(files=Files(**files)).data(None, generator(0))


def test_the_wrong_number_in_the_present_is_refused(write):
    line = "my yak who slept ate . PRESENT\tmy yak who sleep eats ."
    task = TenseInflection(files=Files(**write(TENSE_LINES | {"train": [line]})))
    with pytest.raises(ValueError, match=r"any\.train:1: this line should be .*who sleeps eats"):
        task.data(None, generator(0))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(a a)", r":2: no string of brackets and END, with single spaces"),
        ("END", r":2: no string of brackets and END, with single spaces"),
        ("(a  a) END", r":2: '' is none of the 40 brackets"),
        ("(a a)\tEND", r":2: no string of brackets and END"),
        ("(a x) END", r":2: 'x\)' is none of the 40 brackets"),
        ("(a b) END", r":2: bracket 2 closes what is not open"),
        ("a) END", r":2: bracket 1 closes what is not open"),
        ("(a (b b) END", r":2: 1 brackets are never closed"),
        ("(a (a (a (a a) a) a) a) END", r":2: bracket 4 is at depth 4, and depth is 3"),
    ],
)
def test_any_other_string_is_refused_with_its_file_and_number(line, message, write):
    files = write(BRACKET_LINES | {"train": ["(a a) END", line]})
    with pytest.raises(ValueError, match=r"any\.train" + message):
        Dyck(depth=3, files=Files(**files)).data(None, generator(0))


@pytest.mark.parametrize("task", [QuestionFormation, Dyck])
def test_an_empty_file_is_refused(task, write):
    files = write({split: [] for split in SPLITS})
    with pytest.raises(ValueError, match=r"any\.train: the file is empty"):
        task(files=Files(**files)).data(None, generator(0))


def test_bytes_that_are_no_text_are_refused(write, tmp_path):
    files = write(QUESTION_LINES)
    (tmp_path / "any.train").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"any\.train: not UTF-8 text"):
        QuestionFormation(files=Files(**files)).data(None, generator(0))


def test_a_split_without_a_file_is_refused():
    with pytest.raises(ValueError, match=r"files\.generalization"):
        QuestionFormation.model_validate({"files": {"train": "a", "validation": "b"}})


@CASES
def test_a_count_below_one_is_refused(kind, lines, write):
    task = kind.model_validate({"files": write(lines)})
    with pytest.raises(ValueError, match="count 0: take one example or more, or None for all"):
        task.examples("validation", 0, 0)
