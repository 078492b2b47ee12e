import json

import pytest
import torch

from analyses import GrokkingPhases, WeightNorms, trace
from hooks import Checkpoints
from interp.runs.run import Run, find_runs, load, read_metrics
from interp.runs.safe_files import write_whole
from interp.training.loop import train
from tests.planted import tiny_config, tiny_experiment


def truncate(path, size=500):
    path.write_bytes(path.read_bytes()[:size])


def test_a_run_is_named_for_its_folder(run):
    assert run.name == "tiny"


def test_the_experiment_is_the_one_that_was_trained(run, experiment):
    assert load(run.path).experiment == experiment


def test_weights_have_the_steps_first(run):
    assert run.weights("W_E").shape == (5, 8, 8)


def test_a_snapshot_is_of_the_last_step_by_default(run):
    assert run.snapshot().step == 40


def test_a_snapshot_is_on_the_tasks_own_split_by_default(run):
    assert len(run.snapshot().examples) == 49


def test_a_model_has_the_weights_of_its_step(run):
    held = dict(run.model(10).named_parameters())["embed.W_E"]
    assert torch.equal(held, run.parameters(10)["embed.W_E"])


def test_metrics_are_a_frame_with_a_row_an_evaluation(run):
    assert run.metrics["step"].tolist() == list(range(0, 41, 5))


def test_a_run_knows_the_chance_of_its_task(run):
    assert run.facts.chance == 1 / 7


def test_a_run_is_measured_as_it_is(run):
    assert isinstance(run, Checkpoints)
    assert WeightNorms.measure(run.snapshot()).summary()
    assert trace(run, WeightNorms)["step"].tolist() == list(run.steps)
    assert GrokkingPhases.measure(run).category == GrokkingPhases.measure(run.series()).category


def test_a_run_is_seen_with_given_examples(run):
    few = run.examples("test", 3)
    assert run.snapshot(10, few).examples is few


def test_a_series_keeps_the_steps_it_was_taken_with(folder):
    run = Run(folder)
    series = run.series()
    (folder / "checkpoints" / "40.safetensors").unlink()
    assert (run.steps[-1], series.steps[-1]) == (30, 40)


def test_a_run_shows_its_folder_and_steps(run):
    assert repr(run) == f"Run('{run.path}', 5 steps, 0 to 40)"


def test_a_run_that_cannot_be_read_still_shows_its_folder(tmp_path):
    (tmp_path / "experiment.toml").write_text("nonsense")
    assert repr(Run(tmp_path)) == f"Run('{tmp_path}', no steps)"


def test_a_misspelled_split_is_refused_with_the_one_that_is_near(run):
    with pytest.raises(ValueError, match=r"split 'tset' is none of .*; did you mean test\?"):
        run.snapshot(split="tset")


def test_a_checkpoint_reads_only_names_it_has(run):
    assert "embed.W_X" not in run.parameters(0)


@pytest.mark.parametrize("name", ["007", "1e3", "-1", "\u0663", "\u00b2", "last", ""])
def test_a_file_whose_name_is_no_step_is_passed_over(folder, name):
    (folder / "checkpoints" / f"{name}.safetensors").write_bytes(b"")
    assert Run(folder).steps == (0, 10, 20, 30, 40)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a run folder: it has no experiment\.toml"):
        load(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a run folder"):
        load(tmp_path / "nowhere")


def test_runs_are_found_in_the_folder_that_holds_them(run):
    assert find_runs([run.path.parent]) == [run]


def test_a_run_folder_is_found_itself(run):
    assert find_runs([run.path]) == [run]


def test_an_empty_folder_holds_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no run .*make one with `interp train`"):
        find_runs([tmp_path])


def test_a_step_that_was_not_kept_is_refused_with_those_that_were(run):
    with pytest.raises(ValueError, match="no checkpoint of step 15; kept steps: 0, 10, 20, 30, 40"):
        run.parameters(15)


def test_an_unknown_split_is_not_blamed_on_the_checkpoint(run):
    with pytest.raises(ValueError, match=r"\Asplit 'validation' is none of all, train, test\Z"):
        run.snapshot(split="validation")


def test_a_run_without_checkpoints_is_refused(tmp_path, experiment):
    write_whole(tmp_path / "experiment.toml", experiment.to_toml().encode())
    with pytest.raises(ValueError, match="no checkpoints; train it with `interp train`"):
        Run(tmp_path).snapshot()


@pytest.mark.parametrize("size", [0, 4, 500, 3000])
def test_a_truncated_checkpoint_is_refused_by_its_file(folder, size):
    truncate(folder / "checkpoints" / "20.safetensors", size)
    with pytest.raises(ValueError, match=r"20\.safetensors is damaged .*move it away"):
        Run(folder).snapshot(20)


def test_a_snapshot_of_a_checkpoint_with_one_changed_byte_is_refused(folder):
    content = bytearray((folder / "checkpoints" / "20.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "checkpoints" / "20.safetensors").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"20\.safetensors is damaged \(.* is not as it was written"
    ):
        Run(folder).snapshot(20)


def test_other_steps_are_read_beside_a_truncated_checkpoint(folder, run):
    truncate(folder / "checkpoints" / "20.safetensors")
    assert torch.equal(Run(folder).snapshot(30).logits(), run.snapshot(30).logits())


def test_weights_over_steps_name_the_truncated_checkpoint(folder):
    truncate(folder / "checkpoints" / "0.safetensors")
    with pytest.raises(ValueError, match=r"/0\.safetensors is damaged"):
        Run(folder).weights("W_E")


def test_a_checkpoint_of_other_shapes_is_refused_by_its_parameter(folder, tmp_path):
    narrower = tiny_experiment(steps=20).model_copy(update={"model": tiny_config(d_mlp=5)})
    other = train(narrower, tmp_path / "other", device="cpu")
    other.checkpoint(20).replace(folder / "checkpoints" / "20.safetensors")
    with pytest.raises(ValueError, match=r"step 20: parameter blocks\.0\.mlp\.W_in: the config"):
        Run(folder).snapshot(20)


def test_weights_are_read_without_metrics(folder):
    (folder / "metrics.jsonl").unlink()
    assert Run(folder).weights("W_E").shape == (5, 8, 8)


def swap(folder, first, second):
    """Gives two checkpoints each other's name."""
    files = [folder / "checkpoints" / f"{step}.safetensors" for step in (first, second)]
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)


@pytest.mark.parametrize(("step", "other"), [(20, 30), (30, 20)])
def test_swapped_checkpoints_are_refused_by_both_their_steps(folder, step, other):
    swap(folder, 20, 30)
    wanted = rf"/{step}\.safetensors holds the parameters of step {other}, and its name says {step}"
    with pytest.raises(ValueError, match=wanted):
        Run(folder).snapshot(step)


def test_weights_over_steps_are_refused_where_two_checkpoints_are_swapped(folder):
    swap(folder, 0, 30)
    with pytest.raises(ValueError, match=r"/0\.safetensors holds the parameters of step 30"):
        Run(folder).weights("W_E")


def write_rows(folder, *lines):
    text = "".join(f"{line}\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    return folder / "metrics.jsonl"


ROWS = ('{"step": 0, "test.loss": 2.0}', '{"step": 5, "test.loss": 1.0}')


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"step": null, "test.loss": 1.0}', "step is null, and a whole number from 0 is wanted"),
        ('{"step": "5", "test.loss": 1.0}', 'step is "5", and a whole number from 0 is wanted'),
        ('{"step": true, "test.loss": 1.0}', "step is true, and a whole number from 0 is wanted"),
        ('{"step": 5.5, "test.loss": 1.0}', r"step is 5\.5, and a whole number from 0 is wanted"),
        ('{"step": -5, "test.loss": 1.0}', "step is -5, and a whole number from 0 is wanted"),
        ('{"step": [5], "test.loss": 1.0}', r"step is \[5\], and a whole number from 0 is wanted"),
        ('{"step": 5, "test.loss": "low"}', r'test\.loss is "low", and a number is wanted'),
        ('{"step": 5, "test.loss": [1.0]}', r"test\.loss is \[1\.0\], and a number is wanted"),
        ('{"step": 5, "test.loss": true}', r"test\.loss is true, and a number is wanted"),
        ('{"step": 5, "test.loss": null}', r"test\.loss is null, and a number is wanted"),
        ('[5, 1.0]', "not a row of metrics in JSON"),
        ('{"test.loss": 1.0}', "not a row of metrics in JSON"),
    ],
)  # fmt: skip
def test_a_row_that_holds_something_else_than_numbers_is_refused(tmp_path, line, fault):
    file = write_rows(tmp_path, ROWS[0], line)
    wanted = rf"metrics\.jsonl, line 2[^\n]*{fault}[^\n]*delete (it|the line) and try again\Z"
    with pytest.raises(ValueError, match=wanted):
        read_metrics(file)


def test_metrics_may_be_nan_or_infinite(tmp_path):
    (row,) = read_metrics(write_rows(tmp_path, '{"step": 0, "a.loss": Infinity, "a.b": NaN}'))
    assert row["a.loss"] == float("inf")
    assert row["a.b"] != row["a.b"]


def test_a_row_that_repeats_another_is_passed_over_with_a_warning(tmp_path):
    file = write_rows(tmp_path, *ROWS, *ROWS, '{"step": 10, "test.loss": NaN}')
    wanted = r"metrics\.jsonl: 2 repeated rows passed over, the first in line 3"
    with pytest.warns(UserWarning, match=wanted):
        assert [row["step"] for row in read_metrics(file)] == [0, 5, 10]


def test_repeated_rows_with_nan_are_the_same_row(tmp_path):
    file = write_rows(tmp_path, *['{"step": 0, "test.loss": NaN}'] * 2)
    with pytest.warns(UserWarning, match="1 repeated rows passed over"):
        assert len(read_metrics(file)) == 1


def test_of_two_rows_that_differ_by_rounding_the_first_is_taken(tmp_path):
    file = write_rows(tmp_path, *ROWS, '{"step": 5, "test.loss": 1.000001}')
    with pytest.warns(UserWarning, match="1 repeated rows passed over, the first in line 3"):
        assert read_metrics(file)[1]["test.loss"] == 1.0


def test_two_rows_of_a_step_that_differ_are_refused_by_both_lines(tmp_path):
    file = write_rows(tmp_path, *ROWS, '{"step": 0, "test.loss": 3.0}')
    with pytest.raises(ValueError, match=r"lines 1 and 3 are both of step 0 and differ; delete"):
        read_metrics(file)


def test_a_row_out_of_order_is_refused_by_its_line(tmp_path):
    file = write_rows(tmp_path, '{"step": 10, "test.loss": 0.5}', *ROWS)
    with pytest.raises(ValueError, match=r"line 2 is of step 0, after one of step 10; put the lin"):
        read_metrics(file)


def test_metrics_after_a_byte_order_mark_are_read(tmp_path):
    file = write_rows(tmp_path, *ROWS)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert [row["step"] for row in read_metrics(file)] == [0, 5]


def test_weights_and_examples_of_a_run_whose_metrics_are_damaged_are_read(folder):
    write_rows(folder, "garbage")
    assert Run(folder).weights("W_E").shape == (5, 8, 8)
    assert len(Run(folder).snapshot().examples) == 49


def test_the_metrics_of_a_series_name_the_damaged_line_when_asked_for(folder):
    write_rows(folder, "garbage")
    series = Run(folder).series()
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1 is not a row of metrics in JSON"):
        _ = series.metrics


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b"3", b"{}", b'{"reason": null}', b'{"reason": 3}',
                b'{"reason": ""}', b"\xff\xff", b"[" * 100_000]
)  # fmt: skip
def test_a_failure_that_gives_no_reason_is_a_failure_that_names_its_file(folder, content):
    (folder / "failure.json").write_bytes(content)
    wanted = f"{folder}/failure.json gives no reason in JSON; train the run again, or delete the f"
    assert Run(folder).failure == wanted + "ile"


def test_a_failure_is_told_by_its_reason(folder):
    (folder / "failure.json").write_text('{"step": 5, "reason": "diverged"}')
    assert Run(folder).failure == "diverged"


def test_a_run_without_metrics_has_none(folder):
    (folder / "metrics.jsonl").unlink()
    assert Run(folder).recorded_metrics() is None


def test_the_series_of_a_run_without_metrics_says_so(folder):
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="these checkpoints have no metrics"):
        _ = Run(folder).metrics


def test_a_half_written_last_line_is_passed_over_with_a_warning(folder):
    truncate(folder / "metrics.jsonl", -5)
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: half-written last line passed over"):
        assert len(read_metrics(folder / "metrics.jsonl")) == 8


def test_training_on_repairs_a_half_written_last_line(folder, run, experiment):
    truncate(folder / "metrics.jsonl", -5)
    with pytest.warns(UserWarning, match="half-written last line"):
        train(experiment, folder, device="cpu")
    assert (folder / "metrics.jsonl").read_bytes() == (run.path / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("line", ["", '{"step": 10, "tra', "NaN?"])
def test_a_broken_line_in_the_middle_is_named(folder, line):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    lines[2] = line
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3 is not a row of metrics"):
        Run(folder).recorded_metrics()


def test_a_broken_line_in_the_middle_survives_the_refusal_to_train_on(folder, experiment):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    lines[2] = "{"
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="line 3 is not a row"):
        train(experiment, folder, device="cpu")
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 9


def test_an_unknown_key_in_the_experiment_is_named(folder):
    with (folder / "experiment.toml").open("a") as file:
        file.write("\n[colour]\n")
    with pytest.raises(ValueError, match=r"experiment\.toml: colour: unknown key"):
        _ = Run(folder).experiment


def test_metrics_lines_are_json_objects(run):
    assert json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0
