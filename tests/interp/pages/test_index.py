"""The index: what differs, small curves, values to sort by."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from interp.config.experiment import Experiment
from interp.pages import write_report
from interp.pages.tables import differences, held_out_accuracy, overview, shared, sparkline
from interp.runs.run import Run
from tests.interp.pages.written import rewritten
from tests.planted import tiny_experiment


def metrics(**columns):
    steps = len(next(iter(columns.values())))
    named = {name.replace("_", "."): values for name, values in columns.items()}
    return pd.DataFrame({"step": range(steps)} | named)


def test_the_curve_of_the_index_is_test_accuracy():
    found = held_out_accuracy(metrics(train_accuracy=[1, 1], test_accuracy=[0.25, 0.5]))
    assert found == ((0.0, 0.25), (1.0, 0.5))


def test_a_task_without_a_test_split_shows_another_that_is_not_trained_on():
    found = held_out_accuracy(metrics(train_accuracy=[1, 1], generalisation_accuracy=[0, 1]))
    assert found == ((0.0, 0.0), (1.0, 1.0))


def test_training_accuracy_alone_is_no_curve():
    assert held_out_accuracy(metrics(train_accuracy=[1, 1])) == ()


def test_a_long_curve_keeps_its_ends():
    found = held_out_accuracy(metrics(test_accuracy=np.linspace(0, 1, 5001)))
    assert (len(found), found[0], found[-1]) == (60, (0.0, 0.0), (5000.0, 1.0))


def test_a_curve_rises_from_the_bottom_to_the_top():
    assert 'points="3.0,25.0 117.0,3.0"' in sparkline(((0, 0), (10, 1)))


def test_a_curve_is_told_to_those_who_do_not_see_it():
    assert 'aria-label="0 at step 0, 1 at step 10"' in sparkline(((0, 0), (10, 1)))


def test_a_curve_of_one_point_is_drawn():
    assert "<circle" in sparkline(((5, 0.5),))


def test_what_differs_between_runs_is_told():
    one, two = tiny_experiment(), tiny_experiment(weight_decay=0.5).with_seed(2)
    assert differences([one, two]) == [
        {"weight decay": 0.1, "seed": 0},
        {"weight decay": 0.5, "seed": 2},
    ]


def test_seeds_that_differ_from_each_other_are_told_apart():
    one = tiny_experiment()
    two = one.model_copy(update={"seeds": one.seeds.model_copy(update={"data": 5})})
    assert differences([one, two]) == [{"data seed": 0}, {"data seed": 5}]


def test_settings_that_end_alike_are_told_in_full():
    table = tiny_experiment().model_dump(mode="json", exclude_none=True)
    table["training"]["checkpoints"] = {"every": 20}
    table["training"]["evaluate"] = {"every": 10}
    found = differences([tiny_experiment(), Experiment.model_validate(table)])
    assert found[0] == {"training evaluate every": 5, "training checkpoints every": 10}


def test_runs_that_are_alike_differ_in_nothing():
    assert differences([tiny_experiment(), tiny_experiment()]) == [{}, {}]


def test_the_index_shows_what_differs(run, folder, tmp_path):
    other = rewritten(folder, "weight_decay = 0.1", "weight_decay = 0.25")
    index = write_report([run, other], tmp_path / "report").read_text("utf-8")
    assert '<td class="detail">weight decay 0.25</td>' in index


def test_the_index_sorts_by_numbers_and_not_by_how_they_are_shown(run, tmp_path):
    index = write_report([run], tmp_path / "report").read_text("utf-8")
    last = run.metrics.iloc[-1]["test.loss"]
    assert f'data-sort="{last}"' in index


def columns(index):
    return re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', index.read_text("utf-8"))


def test_what_all_runs_share_is_said_once_and_is_no_column(run, folder, tmp_path):
    other = rewritten(folder, "weight_decay = 0.1", "weight_decay = 0.25")
    index = write_report([run, other], tmp_path / "report")
    assert columns(index)[:3] == ["Run", "Differs in", "Held-out accuracy over training"]
    assert "<dt>task</dt><dd>modular arithmetic</dd>" in index.read_text("utf-8")
    assert "<dt>parameters</dt><dd>" in index.read_text("utf-8")


def test_runs_of_several_models_have_a_column_for_what_differs(run, two_layer_run, tmp_path):
    index = write_report([run, two_layer_run], tmp_path / "report")
    assert "Parameters" in columns(index)
    assert "Task" not in columns(index)
    assert "<dt>parameters</dt>" not in index.read_text("utf-8")


def test_tasks_that_differ_have_a_column_and_no_common_settings(run, folder, tmp_path):
    other = overview(run, "other.html")
    found = shared([other, replace(other, task="sparse_parity", settings="n 40")])
    assert found.keys() == {"model", "parameters"}


def test_a_run_alone_shares_nothing(run, tmp_path):
    assert columns(write_report([run], tmp_path / "report"))[:3] == ["Run", "Task", "Model"]


def test_more_than_six_differences_are_folded(run, folder, tmp_path):
    table = tiny_experiment().model_dump(mode="json", exclude_none=True)
    table["training"] |= {"lr": 0.5, "weight_decay": 0.5, "warmup_steps": 1, "betas": [0, 0]}
    table["task"]["p"], table["seeds"] = 11, {"model": 1, "data": 2, "order": 3}
    (folder / "experiment.toml").write_text(Experiment.model_validate(table).to_toml())
    index = write_report([run, Run(folder)], tmp_path / "report").read_text("utf-8")
    assert index.count("<details><summary>2 more</summary>data seed ") == 2


def test_what_has_a_column_of_its_own_is_no_difference():
    table = tiny_experiment().model_dump(mode="json", exclude_none=True)
    table["model"]["n_layers"], table["model"]["d_mlp"] = 2, 7
    other = Experiment.model_validate(table)
    found = differences([tiny_experiment(), other], without=("model.n_layers",))
    assert found == [{"d mlp": 16}, {"d mlp": 7}]
