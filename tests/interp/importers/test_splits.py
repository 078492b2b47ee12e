"""An imported run is split as its archive says."""

import json
import re

import pytest
import torch

from interp.config.experiment import load_experiment
from interp.importers import describe, import_run
from interp.importers.splits import stored_split
from tests.foreign import PLAIN, TASK, demo_archive, progress_state
from tests.oracles import progress_measures_logits

OWN = [3, 4, 5, 20, 48]  # of 49 pairs: not what any seed draws of a half
PAIRS = [(index // 7, index % 7) for index in OWN]


@pytest.mark.parametrize(
    "stated",
    [
        {"train_indices": torch.tensor(OWN)},
        {"train_indices": OWN},
        {"train_indices": OWN[::-1]},
        {"train_indices": torch.isin(torch.arange(49), torch.tensor(OWN))},
        {"train_indices": torch.isin(torch.arange(49), torch.tensor(OWN)).to(torch.uint8)},
        {"train_data": PAIRS},
        {"train_data": [(a, b, 7) for a, b in PAIRS]},
        {"train_data": torch.tensor([(a, b, 7) for a, b in PAIRS], dtype=torch.int32)},
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_archives_split_is_the_runs(imported, recwarn, stated, seed):
    run = imported(demo_archive(**stated), seed=seed)
    assert run.snapshot().examples.label("train").nonzero()[:, 0].tolist() == OWN
    assert run.snapshot(split="train").examples.label("a").tolist() == [a for a, _ in PAIRS]
    assert len(run.snapshot(split="test").examples) == 44
    assert not recwarn.list


@pytest.mark.filterwarnings("ignore:.*last 1 left out", "ignore:.*; assumed: ")
def test_scores_are_those_of_the_archives_split(imported):
    state = progress_state()
    run = imported({"model": state, "train_data": PAIRS})
    logits = torch.stack(
        [progress_measures_logits(state, torch.tensor([a, b, 7]), 1) for a, b in PAIRS]
    )
    answers = torch.tensor([(a + b) % 7 for a, b in PAIRS])
    expected = torch.nn.functional.cross_entropy(logits[:, -1, :7], answers)
    score = run.experiment.task.score(run.snapshot(split="train"))
    assert score["loss"] == pytest.approx(float(expected), rel=1e-10)


def test_the_split_is_in_the_experiment_file(imported):
    run = imported(demo_archive(train_indices=OWN))
    text = (run.path / "experiment.toml").read_text()
    assert 'train_pairs = "3-5 20 48"' in text
    assert "train_fraction" not in text
    assert load_experiment(run.path / "experiment.toml").task == TASK.model_copy(
        update={"train_fraction": None, "train_pairs": "3-5 20 48"}
    )


def test_a_split_that_the_task_draws_anyway_is_not_written_out(imported, recwarn):
    train = TASK.examples("all", None, 3).label("train").nonzero()[:, 0]
    run = imported(demo_archive(train_indices=train), seed=3)
    assert run.experiment.task == TASK
    assert not recwarn.list


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({}, "are not stored"),
        ({"train_indices": torch.tensor([4000])}, "are stored in a form unknown here"),
        ({"train_indices": torch.tensor([-1, 3])}, "unknown"),
        ({"train_indices": torch.tensor([3, 4, 3])}, "unknown"),
        ({"train_indices": [10**30]}, "unknown"),
        ({"train_indices": torch.tensor([0.5])}, "unknown"),
        ({"train_indices": torch.ones(48).bool()}, "unknown"),
        ({"train_indices": []}, "unknown"),
        ({"train_indices": "0-3"}, "unknown"),
        ({"train_data": [(0, 1), (0, 9)]}, "unknown"),
        ({"train_data": [(0, 1, 6)]}, "unknown"),
        ({"train_data": [(0, 1, 7, 1)]}, "unknown"),
    ],
)
def test_where_the_split_is_unknown_it_is_drawn_with_a_warning(imported, stated, why):
    with pytest.warns(
        UserWarning, match=rf"trained on .*{why}.*: labels .* seeds\.data = 2, which"
    ):
        run = imported(demo_archive(**stated), seed=2)
    assert run.experiment.task == TASK


@pytest.mark.filterwarnings("error")
def test_pairs_that_the_user_names_need_no_warning(imported):
    task = TASK.model_copy(update={"train_fraction": None, "train_pairs": "0-9"})
    assert imported(demo_archive(), task=task).experiment.task == task


def test_pairs_that_the_user_and_the_archive_name_alike_are_kept(imported, recwarn):
    task = TASK.model_copy(update={"train_fraction": None, "train_pairs": "3 4 5 20 48"})
    assert imported(demo_archive(train_indices=OWN), task=task).experiment.task == task
    assert not recwarn.list


def test_other_pairs_than_the_archives_are_refused(imported, tmp_path):
    task = TASK.model_copy(update={"train_fraction": None, "train_pairs": "0-3"})
    wanted = r"on 5 examples, of which 1 are among the 4 .*: the task names them; leave them out"
    with pytest.raises(ValueError, match=wanted):
        imported(demo_archive(train_indices=OWN), task=task)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_training_on_all_pairs_leaves_the_split_drawn(imported):
    message = r"on 49 examples, of which 24 are among the 24 .* drawn .*, since some of 49 pairs"
    with pytest.warns(UserWarning, match=message):
        assert imported(demo_archive(train_indices=list(range(49)))).experiment.task == TASK


def test_test_pairs_that_are_not_all_others_are_warned_of(imported):
    message = r"it was tested on 2 examples; split 'test' holds all 44 that it was not trained on"
    with pytest.warns(UserWarning, match=message):
        imported(demo_archive(train_indices=OWN, test_indices=[0, 1]))


def test_all_other_pairs_for_testing_need_no_warning(imported, recwarn):
    others = [index for index in range(49) if index not in OWN]
    imported(demo_archive(train_indices=OWN, test_indices=others))
    assert not recwarn.list


def test_files_that_state_other_splits_are_refused(save, tmp_path):
    for step, pairs in ((0, PAIRS), (1, PAIRS[1:])):
        save({"model": progress_state(), "train_data": pairs}, f"{step}.pth")
    with pytest.raises(ValueError, match=r"1\.pth states other training examples than .*0\.pth"):
        import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)


@pytest.fixture
def progress_folder(save):
    """A folder as the progress-measures code writes it, epochs in `{epoch}.pth` and `final.pth`."""
    tokens = [(a, b, 7) for a, b in PAIRS]
    others = [(i // 7, i % 7, 7) for i in range(49) if i not in OWN]
    start = {"model": progress_state(9), "train_data": tokens, "test_data": others}
    losses = {"train_loss": torch.tensor(2.0), "test_loss": torch.tensor(3.0)}
    for epoch in (0, 100):
        save({"model": progress_state(epoch)} | losses | {"epoch": epoch}, f"{epoch}.pth")
    lists = {"train_losses": [2.0] * 200, "test_losses": [3.0] * 200}
    states = {"optimizer": {"state": {}, "param_groups": [{"lr": 0.001}]}}
    save({"model": progress_state(200)} | losses | lists | {"epoch": 200} | states, "final.pth")
    return save(start, "init.pth").parent


@pytest.mark.filterwarnings(
    "ignore:.*last 1 left out", "ignore:.*; assumed: ", "ignore:.*init.pth left out"
)
def test_a_file_of_no_step_states_the_split_of_its_folder(progress_folder, tmp_path):
    run = import_run(progress_folder, tmp_path / "run", TASK)
    assert run.steps == (0, 100, 200)
    assert run.experiment.fields["task.train_pairs"] == "3-5 20 48"
    last = progress_state(200)["embed.W_E"].T
    assert torch.equal(run.parameters(200)["embed.W_E"], last)
    assert len(run.series().metrics) == 201


@pytest.mark.filterwarnings("ignore:.*last 1 left out", "ignore:.*; assumed: ")
def test_weights_of_no_step_are_left_out_with_a_warning(progress_folder, tmp_path):
    said = "the weights of init.pth left out: nothing says their step"
    with pytest.warns(UserWarning, match=f"{said}$"):
        run = import_run(progress_folder, tmp_path / "run", TASK)
    assert said in json.loads((run.path / "imported.json").read_text())["notes"]


def test_a_file_of_no_step_that_states_no_split_is_refused(progress_folder, save, tmp_path):
    save({"model": progress_state()}, "best.pth")
    with pytest.raises(ValueError, match=r"best\.pth: which step is it of\? give --step"):
        import_run(progress_folder, tmp_path / "run", TASK)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_a_folder_in_which_no_file_says_its_step_is_refused(save, tmp_path):
    file = save({"model": progress_state(), "train_data": PAIRS}, "init.pth")
    with pytest.raises(ValueError, match="no file says its step; rename them"):
        import_run(file.parent, tmp_path / "run", TASK)


def test_a_single_file_of_no_step_is_refused_even_with_its_split(imported):
    with pytest.raises(ValueError, match=r"init\.pth: which step is it of\?"):
        imported({"model": progress_state(), "train_data": PAIRS}, "init.pth")


def test_pairs_of_another_order_are_found_by_their_tokens():
    examples = TASK.model_copy(update={"ordered": False}).examples("all", None, 0)
    found = stored_split(examples, [(2, 5), (0, 0)])
    assert found is not None
    assert examples.words is not None
    assert [examples.words[i][:2] for i in found.nonzero()[:, 0]] == [("0", "0"), ("2", "5")]


def test_pairs_that_the_task_leaves_out_are_not_passed_over():
    examples = TASK.model_copy(update={"ordered": False}).examples("all", None, 0)
    assert stored_split(examples, [(2, 5), (5, 2)]) is None


@pytest.mark.filterwarnings("ignore:.*; assumed: ", "ignore:.*last 1 left out")
def test_an_import_is_looked_at_on_all_examples_of_a_finite_task(save, tmp_path):
    state = progress_state()
    state["embed.W_E"] = torch.randn(6, 60, dtype=torch.float64)
    state["unembed.W_U"] = torch.randn(6, 60, dtype=torch.float64)
    trained = {"train_indices": list(range(1000))}
    task = TASK.model_copy(update={"p": 59})
    run = import_run(save({"model": state} | trained), tmp_path / "run", task)
    assert re.findall("over ([0-9]+) examples", describe(run)) == ["1000", "2481"]


def test_an_import_says_how_well_the_model_does_on_either_side(imported):
    run = imported(demo_archive(train_indices=OWN))
    accuracy = TASK.score(run.snapshot(split="test"))["accuracy"]
    assert "train loss" in describe(run)
    assert f"accuracy {accuracy:.4g} over 44 examples" in describe(run)
