"""An experiment file may name the training pairs one by one."""

import pytest

from interp.config.experiment import Experiment, load_experiment
from interp.importers.importing import read_task
from interp.pages import write_report
from interp.runs.run import Run
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.interp.pages.written import only_page, rewritten

P113 = " ".join(str(index) for index in range(0, 113**2, 3))  # 19 kB


def experiment(task):
    return Experiment.model_validate({"name": "any", "task": {"name": "modular_arithmetic"} | task})


@pytest.mark.parametrize(("p", "pairs"), [(7, "0-3 7 9-12"), (2, "0 3"), (113, P113)])
def test_named_pairs_come_back_from_a_file(tmp_path, p, pairs):
    written = experiment({"p": p, "train_pairs": pairs})
    file = tmp_path / "experiment.toml"
    file.write_text(written.to_toml())
    assert "train_fraction" not in file.read_text()
    assert load_experiment(file) == written
    assert read_task(file) == ModularArithmetic(p=p, train_pairs=pairs)


def test_a_share_is_written_as_before():
    assert "train_pairs" not in experiment({"p": 7}).to_toml()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"train_pairs": "0-49"}, "train_pairs: '0-49' reaches beyond the last index, 48"),
        ({"train_pairs": "28", "ordered": False}, "'28' reaches beyond the last index, 27"),
        ({"train_pairs": "0 5 5"}, "train_pairs: '5' is out of order: name each index once"),
        ({"train_pairs": "5 0"}, "train_pairs: '0' is out of order"),
        ({"train_pairs": "0, 5"}, "train_pairs: '0,' is neither an index nor a range such as"),
        ({"train_pairs": "../pairs.txt"}, "train_pairs: '../pairs.txt' is neither an index"),
        ({"train_pairs": ""}, "train_pairs names 0 of 49 pairs, which leaves a split empty"),
        ({"train_pairs": "0-48"}, "train_pairs names 49 of 49 pairs, which leaves a split"),
        ({"train_pairs": "0", "train_fraction": 0.5}, "give one of train_fraction and train_p"),
        ({"train_pairs": 5}, "task.train_pairs: Input should be a valid string (got 5)"),
    ],
)
def test_pairs_that_cannot_be_are_one_line(tmp_path, task, message):
    file = tmp_path / "bad.toml"
    table = {"name": "modular_arithmetic", "p": 7} | task
    words = {key: f'"{each}"' if isinstance(each, str) else each for key, each in table.items()}
    lines = [f"{key} = {str(value).lower()}" for key, value in words.items()]
    file.write_text("[task]\n" + "\n".join(lines))
    with pytest.raises(ValueError, match=r"bad\.toml: task") as refused:
        load_experiment(file)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_page_names_the_pairs_in_the_file_alone(folder, tmp_path):
    pairs = " ".join(map(str, range(40)))
    run = rewritten(folder, "train_fraction = 0.5", f'train_pairs = "{pairs}"')
    page = only_page([run], tmp_path / "pages")
    assert page.count(pairs) == 1
    assert f'<th scope="row">train pairs</th><td>{pairs[:79]}…</td>' in page


def test_runs_of_other_pairs_are_told_apart_in_few_words(folder, analysed, tmp_path):
    pairs = " ".join(map(str, range(40)))
    other = rewritten(folder, "train_fraction = 0.5", f'train_pairs = "{pairs}"')
    index = write_report([Run(analysed.path), other], tmp_path / "pages").read_text("utf-8")
    assert f"train pairs {pairs[:79]}…" in index
    assert pairs not in index
