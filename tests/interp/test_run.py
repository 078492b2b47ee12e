import json
import resource
from contextlib import contextmanager

import pytest
import torch

from interp.run import Run, append_whole, find_runs, load, read_metrics, write_whole
from interp.train import train
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
    assert run.series().metrics["step"].tolist() == list(range(0, 41, 5))


def test_the_series_knows_the_chance_of_its_task(run):
    assert run.series().constants["chance"] == 1 / 7


def test_a_checkpoint_reads_only_names_it_has(run):
    assert "embed.W_X" not in run.parameters(0)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "new" / "file", b"content")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["file"]


@contextmanager
def full_disk():
    """No file may grow beyond 100 bytes: for a moment only, since pytest may print to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_does_not_fit_leaves_the_earlier_one(tmp_path):
    write_whole(tmp_path / "file", b"earlier")
    with (
        pytest.raises(OSError, match=r"/file could not be written \(File too large\); nothing is"),
        full_disk(),
    ):
        write_whole(tmp_path / "file", bytes(101))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_a_line_that_does_not_fit_is_taken_back(tmp_path):
    (tmp_path / "file").write_bytes(b"earlier")
    with (
        pytest.raises(OSError, match=r"/file could not be written \(File too large\); nothing is"),
        full_disk(),
    ):
        append_whole(tmp_path / "file", bytes(101))
    assert (tmp_path / "file").read_bytes() == b"earlier"


def test_a_line_is_added_at_the_end(tmp_path):
    (tmp_path / "file").write_bytes(b"earlier\n")
    append_whole(tmp_path / "file", b"later\n")
    assert (tmp_path / "file").read_bytes() == b"earlier\nlater\n"


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


def test_a_run_without_metrics_has_none(folder):
    (folder / "metrics.jsonl").unlink()
    assert Run(folder).metrics() is None


def test_the_series_of_a_run_without_metrics_says_so(folder):
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="this series has no metrics"):
        _ = Run(folder).series().metrics


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
        Run(folder).metrics()


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
