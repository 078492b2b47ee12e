"""Checkpoints of other code become run folders that compute the same logits."""

import json

import pytest
import torch

from hooks import Series, Snapshot
from interp.importers import import_run
from interp.importers.archives import _places
from interp.importers.layouts import LAYOUTS
from interp.measure.analyze import analyze
from interp.pages import write_report
from interp.runs.staging import scratch
from tests.foreign import (
    PLAIN,
    TASK,
    demo_archive,
    hooked_state,
    plain_config,
    progress_state,
    state_of,
)
from tests.oracles import progress_measures_logits
from tests.planted import random_model

# Most imports warn of the split (tests/interp/importers/test_splits.py).
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*it was trained on",
    "ignore:.*last 1 left out",
    "ignore:.*; assumed: ",
    "ignore:.*hold equal tensors",
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_layers": 2},
        {"normalization_type": "LN", "act_fn": "gelu"},
        {"normalization_type": "LNPre"},
        {"attn_only": True},
        {"attention_dir": "bidirectional"},
        {"positional_embedding_type": "rotary"},
        {"d_head": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_a_hooked_transformer_computes_the_same_logits(imported, options, dtype, tolerance):
    model = random_model(dtype=dtype, **options)
    run = imported({"model": state_of(model), "config": plain_config(model)})
    with torch.no_grad():
        expected = model(run.snapshot().examples.tokens)
    torch.testing.assert_close(run.snapshot().logits(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_progress_measures_weights_compute_the_logits_of_their_code(
    imported, n_layers, dtype, tolerance
):
    state = progress_state(n_layers=n_layers, dtype=getattr(torch, dtype))
    snapshot = imported({"model": state}).snapshot()
    tokens = snapshot.examples.tokens
    expected = torch.stack([progress_measures_logits(state, row, n_layers) for row in tokens])
    torch.testing.assert_close(snapshot.logits(), expected[..., :7], atol=tolerance, rtol=tolerance)


def test_biases_that_the_progress_measures_layout_lacks_are_zeros():
    turned = LAYOUTS["progress_measures"].parameters(progress_state(), {})
    biases = [name for name in turned if ".b_" in name and "mlp" not in name]
    assert len(biases) == 5
    assert all(turned[name].count_nonzero() == 0 for name in biases)


def test_both_layouts_of_the_same_weights_give_the_same_run(save, tmp_path):
    state = progress_state()
    one = import_run(save(state, "1.pt"), tmp_path / "one", TASK)
    turned = LAYOUTS["progress_measures"].parameters(state, {})
    two = import_run(save(turned, "2.pt"), tmp_path / "two", TASK, PLAIN)
    assert torch.equal(one.snapshot().logits(), two.snapshot().logits())


def test_an_archive_keeps_every_checkpoint_at_its_step(imported):
    archive = demo_archive()
    run = imported(archive)
    assert run.steps == (0, 10, 19)
    expected = torch.stack([state["embed.W_E"] for state in archive["checkpoints"]])
    assert torch.equal(run.weights("embed.W_E"), expected)


def test_a_list_of_state_dicts_in_the_progress_measures_layout_is_a_series(imported):
    states = [progress_state(seed) for seed in range(2)]
    run = imported({"state_dicts": states, "epochs": torch.tensor([0, 100])})
    assert run.steps == (0, 100)


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (("step_1000.pt", "step_20.pt"), (20, 1000)),
        (("1000.safetensors", "0.safetensors"), (0, 1000)),
        (("p113-epoch=7.pth", "p113-epoch=8.pth"), (7, 8)),
        (("model100.pt", "model20.pt"), (20, 100)),
        (("epoch=1-step=50.pt", "step=60-epoch=2.pt"), (50, 60)),
        (("step_7.ema.pt", "STEP-8_seed1.pt"), (7, 8)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*steps taken to be the one number")
def test_a_folder_has_a_step_a_file(save, tmp_path, names, steps):
    for name in names:
        save(hooked_state(), name)
    run = import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)
    assert run.steps == steps


def test_a_folder_may_hold_its_config(save, tmp_path):
    model = random_model(act_fn="gelu", normalization_type="LNPre")
    save(plain_config(model), "config.json")
    save(state_of(model), "3.pt")
    run = import_run(tmp_path / "given", tmp_path / "run", TASK)
    assert run.experiment.fields["model.act_fn"] == "gelu"


def test_a_step_inside_the_file_counts_where_the_name_has_none(imported):
    content = {"model": progress_state(), "epoch": 50_000}
    assert imported(content, "final.pth").steps == (50_000,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["step_100.pt", "step_100.safetensors"])
def test_half_precision_becomes_the_same_numbers_in_float32(imported, dtype, name):
    half = {key: value.to(dtype) for key, value in progress_state().items()}
    told = f"stored as {str(dtype).removeprefix('torch.')}: kept as float32, the same numbers"
    with pytest.warns(UserWarning, match=told):
        run = imported(half, name)
    assert torch.equal(run.parameters(100)["embed.W_E"], half["embed.W_E"].T.float())


def test_full_precision_is_not_talked_of(imported, recwarn):
    imported({"model": progress_state(dtype=torch.float32)})
    assert not [each for each in recwarn.list if "stored as" in str(each.message)]


def test_a_runs_own_checkpoints_come_back_as_they_were(run, tmp_path):
    again = import_run(
        run.path / "checkpoints", tmp_path / "again", run.path / "experiment.toml", PLAIN
    )
    assert [again.checkpoint_hash(step) for step in again.steps] == [
        run.checkpoint_hash(step) for step in run.steps
    ]


def test_losses_are_at_their_steps(imported):
    metrics = imported(demo_archive()).metrics
    assert metrics["step"].tolist() == list(range(20))
    assert metrics["train.loss"].tolist() == [1 / (epoch + 1) for epoch in range(20)]


def test_losses_one_a_checkpoint_are_at_the_checkpoints(imported):
    run = imported(demo_archive(train_losses=[3, 2, 1], test_losses=torch.tensor([6, 5, 4])))
    assert run.series().metrics.to_dict("list") == {
        "step": [0, 10, 19], "train.loss": [3, 2, 1], "test.loss": [6, 5, 4]
    }  # fmt: skip


@pytest.mark.parametrize(("count", "every"), [(4, 5), (10, 2), (7, 3)])
def test_a_shorter_list_is_spread_over_the_longer(imported, count, every):
    said = f"test_losses taken to be one every {every} steps, from 0 to {every * (count - 1)} "
    with pytest.warns(UserWarning, match=said):
        metrics = imported(demo_archive(test_losses=[1.0] * count)).series().metrics
    assert list(metrics["test.loss"].dropna().index) == [*range(0, 20, every)]


def test_losses_of_every_tenth_of_107791_steps_are_all_placed():
    assert _places(10_780, (0, 107_790), 107_791) == range(0, 107_791, 10)


@pytest.mark.parametrize(("count", "longest"), [(1, 20), (11, 20), (6, 107_791), (0, 0)])
def test_a_count_that_several_spacings_or_none_would_give_places_nothing(count, longest):
    assert _places(count, (0, 19), longest) is None


@pytest.mark.filterwarnings("ignore:.*train_losses")
def test_losses_with_an_axis_too_many_are_refused(imported):
    with pytest.raises(ValueError, match="train_losses is neither a number nor a list of numbers"):
        imported(demo_archive(train_losses=torch.ones(20, 2)))


@pytest.mark.filterwarnings("ignore:.*test_losses taken")
def test_curves_that_go_on_far_beyond_the_last_checkpoint_are_told_of(imported):
    with pytest.warns(
        UserWarning, match="train_losses taken to be one every 1 steps, from 0 to 99"
    ):
        imported(demo_archive(train_losses=[1.0] * 100, test_losses=[1.0] * 100))


@pytest.mark.filterwarnings("ignore:.*test_losses")
def test_losses_whose_steps_cannot_be_told_are_left_out(imported):
    metrics = imported(demo_archive(test_losses=[1.0] * 11)).series().metrics
    assert list(metrics) == ["step", "train.loss"]


def test_losses_that_are_left_out_are_warned_of(imported):
    with pytest.warns(UserWarning, match=r"test_losses left out: the steps of its 11 "):
        imported(demo_archive(test_losses=[1.0] * 11))


def test_a_loss_beside_each_checkpoint_of_a_folder_is_at_its_step(save, tmp_path):
    for step in (0, 100):
        content = {"model": progress_state(), "train_loss": 3.0 + step, "epoch": step}
        save(content, f"{step}.pth")
    metrics = import_run(tmp_path / "given", tmp_path / "run", TASK).series().metrics
    assert metrics.to_dict("list") == {"step": [0, 100], "train.loss": [3.0, 103.0]}


def test_without_losses_there_are_no_metrics(imported):
    assert imported(hooked_state(), options=PLAIN).recorded_metrics() is None


def test_an_imported_run_is_analysed_and_reported(imported, tmp_path):
    run = imported(demo_archive())
    names = ["FourierCircuit", "FourierSpectrum", "GrokkingPhases"]
    outcomes = {each.name: each for each in analyze(run, names)}
    assert outcomes["FourierCircuit"].measured == 3
    assert outcomes["FourierSpectrum"].measured == 3
    assert outcomes["GrokkingPhases"].measured == 1  # by its losses
    assert write_report([run], tmp_path / "pages").is_file()


def test_an_imported_experiment_has_no_training(imported):
    experiment = imported(demo_archive()).experiment
    assert experiment.training is None
    assert experiment.task == TASK


def test_what_was_imported_is_written_down(imported):
    about = json.loads((imported({"model": progress_state()}).path / "imported.json").read_text())
    assert (about["source"], about["layout"]) == ("step_100.pt", "progress_measures")
    assert len(about["notes"]) == 3


def test_importing_twice_gives_the_same_bytes(save, tmp_path):
    file = save(demo_archive())
    runs = [import_run(file, tmp_path / name / "run", TASK).path for name in ("one", "two")]
    files = [path.relative_to(runs[0]) for path in runs[0].rglob("*") if path.is_file()]
    assert len(files) == 6
    for each in files:
        assert (runs[0] / each).read_bytes() == (runs[1] / each).read_bytes()


def test_the_same_import_again_is_content_with_what_is_there(imported):
    first = imported(demo_archive())
    files = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    imported(demo_archive())
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == files


@pytest.mark.parametrize(
    "change", [{"checkpoint_epochs": [0, 10, 18]}, {"train_losses": [1.0] * 20}]
)
def test_another_import_into_the_same_folder_is_refused(imported, change):
    files = {path: path.stat().st_mtime_ns for path in imported(demo_archive()).path.rglob("*")}
    with pytest.raises(ValueError, match="not an empty folder, and not what this import makes"):
        imported(demo_archive(**change))
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_fewer_checkpoints_than_are_there_are_another_import(save, tmp_path):
    for step in (1, 2):
        save(hooked_state(), f"{step}.pt")
    import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)
    (tmp_path / "given" / "2.pt").unlink()
    with pytest.raises(ValueError, match="not what this import makes"):
        import_run(tmp_path / "given", tmp_path / "run", TASK, PLAIN)


def test_two_imports_to_one_place_at_a_time_are_refused(imported, save, tmp_path):
    file = save(demo_archive())
    with (
        scratch((tmp_path / "run").resolve()),
        pytest.raises(ValueError, match="is in use: another process"),
    ):
        import_run(file, tmp_path / "run", TASK)


def test_a_full_folder_is_refused_and_left_alone(imported, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not an empty folder; choose a new one with --out"):
        imported(demo_archive())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(imported, tmp_path):
    (tmp_path / "run").mkdir()
    assert imported(demo_archive()).steps == (0, 10, 19)


def test_a_bare_model_makes_a_snapshot():
    model, examples = random_model(), TASK.examples("all", None, 0)
    snapshot = Snapshot.of(model, examples)
    assert torch.equal(snapshot.logits(), model(examples.tokens).detach())


def test_the_checkpoints_of_an_archive_make_a_series():
    archive, examples = demo_archive(), TASK.examples("all", None, 0)
    checkpoints = dict(zip(archive["checkpoint_epochs"], archive["checkpoints"], strict=True))
    series = Series.of(random_model(), checkpoints, examples)
    expected = random_model(seed=10)(examples.tokens).detach()
    assert torch.equal(series.snapshot(10, examples).logits(), expected)
    assert series.weights("W_E").shape == (3, 8, 8)
