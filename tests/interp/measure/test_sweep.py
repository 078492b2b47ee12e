"""What a whole sweep shows: its table, and results of many runs, measured and saved."""

import json
import shutil

import pandas as pd
import pytest

from analyses import FourierSpectrum, GrokkingPhases, OutcomeShares, SeedSpread, WeightNorms
from interp.measure.analyze import analyze
from interp.measure.sweep import analyze_sweep
from interp.runs.results import read_header, saved
from interp.runs.run import Run, load
from interp.sweeps.sweep import SweepFolder, find_sweep
from interp.sweeps.table import LazySeries, finished_runs, sweep_table
from tests.planted import tiny_experiment
from tests.sweeps import CATEGORY, DECAY, LR, tiny_sweep, train_members


@pytest.fixture
def folder(analysed_sweep, tmp_path):
    """A copy of the analysed sweep, to be changed."""
    path = shutil.copytree(analysed_sweep.path, tmp_path / "sweep")
    return SweepFolder(path, analysed_sweep.sweep)


def runs_of(folder):
    return [Run(path) for path in folder.experiments()]


def fail(run, reason="diverged at step 20"):
    (run.path / "failure.json").write_text(json.dumps({"step": 20, "reason": reason}))


def by_name(outcomes):
    return {each.name: each for each in outcomes}


def counts(outcomes):
    return {each.name: (each.measured, each.kept) for each in outcomes}


def options(folder, **tables):
    """The same folder with options for results of the whole."""
    sweep = type(folder.sweep).model_validate(folder.sweep.model_dump() | {"analyses": tables})
    return SweepFolder(folder.path, sweep)


ONLY = ["OutcomeShares", "SeedSpread"]


def test_the_table_has_a_row_a_run(folder):
    table = sweep_table(finished_runs(folder))
    assert table["run"].tolist() == [run.name for run in runs_of(folder)]
    assert table[f"experiment.{DECAY}"].tolist() == [0.1] * 4 + [1.0] * 4
    assert table[f"experiment.{LR}"].tolist() == [1e-3, 1e-3, 1e-2, 1e-2] * 2


def test_the_table_holds_the_last_metrics(folder):
    table = sweep_table(finished_runs(folder))
    for run, accuracy in zip(runs_of(folder), table["metrics.test.accuracy"], strict=True):
        assert accuracy == run.series().metrics["test.accuracy"].iloc[-1]


def test_the_table_holds_what_was_found_of_each_run(folder):
    table = sweep_table(finished_runs(folder))
    for run, category in zip(runs_of(folder), table[CATEGORY], strict=True):
        assert category == GrokkingPhases.measure(run.series()).category


def test_the_table_holds_the_last_step_of_what_was_found_at_every_step(folder):
    run = runs_of(folder)[2]
    analyze(run, ["WeightNorms"])
    table = sweep_table(finished_runs(folder)).set_index("run")
    last = WeightNorms.measure(run.snapshot()).summary()["total"]
    assert table["WeightNorms.total"].dropna().to_dict() == {run.name: last}


def test_the_table_tells_why_a_run_failed(folder):
    fail(runs_of(folder)[0])
    assert sweep_table(finished_runs(folder))["failure"].tolist() == ["diverged at step 20"] + 7 * [
        ""
    ]


def test_an_axis_of_whole_tables_is_told_by_what_differs(tmp_path):
    tasks = [{"name": "modular_arithmetic", "p": p, "train_fraction": 0.5} for p in (5, 7)]
    sweep = tiny_sweep(vary={"task": tasks}, seeds=1, base=tiny_experiment(steps=2))
    table = sweep_table(finished_runs(train_members(sweep, tmp_path)))
    assert table["experiment.task"].tolist() == ["p 5", "p 7"]


def test_a_sweep_is_named_by_its_folders_path(folder):
    table = sweep_table(finished_runs(folder))
    pd.testing.assert_frame_equal(sweep_table(str(folder.path)), table)
    assert "OutcomeShares" in [each.name for each in analyze_sweep(folder.path, ["OutcomeShares"])]


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a sweep's folder: it has no sweep\.toml"):
        sweep_table(tmp_path)


def test_a_sweeps_folder_is_no_run_and_the_message_says_what_reads_it(folder):
    with pytest.raises(FileNotFoundError, match=r"it is a sweep's: interp\.sweep_table"):
        load(folder.path)


def test_runs_that_are_not_finished_are_left_out(folder):
    lost = runs_of(folder)[0]
    (lost.path / "metrics.jsonl").unlink()
    sweep_runs = finished_runs(folder)
    assert lost not in sweep_runs.runs
    assert sweep_runs.missing == 1


def test_a_sweep_that_has_not_begun_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run is trained yet; run `interp sweep`"):
        finished_runs(SweepFolder(tmp_path, tiny_sweep()))


def test_series_are_read_by_name(folder):
    runs = runs_of(folder)
    series = LazySeries(runs)
    assert list(series) == [run.name for run in runs]
    assert len(series) == 8
    assert series[runs[0].name].steps == runs[0].steps


def test_asking_for_a_name_reads_no_run(folder):
    runs = runs_of(folder)
    (runs[0].path / "experiment.toml").write_text("damaged")
    assert runs[0].name in LazySeries(runs)


def test_results_are_saved_in_the_sweeps_folder(folder):
    assert {each.name for each in saved(folder)} == set(ONLY)
    (shares,) = saved(folder, ["OutcomeShares"])
    assert shares.path.parent.parent == folder.path / "results"
    assert isinstance(shares.load(), OutcomeShares)


def test_what_is_saved_is_what_is_measured(folder):
    sweep_runs = finished_runs(folder)
    table, series = sweep_table(sweep_runs), LazySeries(list(sweep_runs.runs))
    fresh = OutcomeShares.measure(table, series, axes=folder.sweep.axes)
    kept = saved(folder, ["OutcomeShares"])[0].load()
    assert kept.to_frame().equals(fresh.to_frame())


def test_what_is_saved_is_kept(folder):
    again = counts(analyze_sweep(folder, ONLY))
    assert again == {"GrokkingPhases": (0, 8), "OutcomeShares": (0, 1), "SeedSpread": (0, 1)}


def test_what_a_result_needs_is_measured_first(folder):
    for each in [folder, *runs_of(folder)]:
        shutil.rmtree(each.path / "results")
    again = counts(analyze_sweep(folder, ["OutcomeShares"]))
    assert again == {"GrokkingPhases": (8, 0), "OutcomeShares": (1, 0)}


def test_a_run_that_changed_has_the_whole_measured_again(folder):
    file = runs_of(folder)[0].path / "metrics.jsonl"
    file.write_text(file.read_text().replace('"test.accuracy": 0', '"test.accuracy": 1', 1))
    again = counts(analyze_sweep(folder, ONLY))
    assert again == {"GrokkingPhases": (1, 7), "OutcomeShares": (1, 0), "SeedSpread": (1, 0)}


def test_a_result_that_is_not_read_changes_nothing(folder):
    analyze(runs_of(folder)[0], ["WeightNorms"])
    assert counts(analyze_sweep(folder, ["SeedSpread"])) == {"SeedSpread": (0, 1)}


def test_a_run_that_failed_changes_the_shares(folder):
    fail(runs_of(folder)[0])
    analyze_sweep(folder, ["OutcomeShares"])
    assert "diverged" in saved(folder, ["OutcomeShares"])[0].load().categories


def test_an_unfinished_sweep_is_measured_as_far_as_it_is(tmp_path):
    folder = train_members(tiny_sweep(base=tiny_experiment(steps=10)), tmp_path, count=3)
    with pytest.warns(UserWarning, match="5 of 8 runs are not finished, and are left out"):
        outcomes = analyze_sweep(folder, ["OutcomeShares"])
    assert counts(outcomes)["OutcomeShares"] == (1, 0)
    (shares,) = saved(folder)
    assert shares.load().counts.sum() == 3
    assert read_header(shares.path / "sweep.npz")["missing"] == 5


def test_a_sweep_that_went_on_is_measured_again(tmp_path):
    sweep = tiny_sweep(base=tiny_experiment(steps=10), vary={})
    with pytest.warns(UserWarning, match="1 of 2"):
        analyze_sweep(train_members(sweep, tmp_path, count=1), ["SeedSpread"])
    folder = train_members(sweep, tmp_path)
    assert counts(analyze_sweep(folder, ["SeedSpread"])) == {"SeedSpread": (1, 0)}
    assert len(saved(folder)[0].load().runs) == 2


def test_by_default_runs_are_measured_with_everything(tmp_path):
    sweep = tiny_sweep(base=tiny_experiment(steps=4), vary={DECAY: [0.1, 1.0]}, seeds=1)
    folder = train_members(sweep, tmp_path / "sweep")
    outcomes = by_name(analyze_sweep(folder))
    assert [len(run.steps) for run in runs_of(folder)] == [2, 2]
    assert outcomes["FourierCircuit"].measured == 4
    assert outcomes["CompositionGraph"].reason.startswith("0 measured, 0 kept; 2 runs: ")
    assert outcomes["OutcomeShares"].measured == 1


def test_options_stand_in_the_sweeps_own_file(folder):
    against = {"scalar": "GrokkingPhases.t_train", "against": LR}
    chosen = options(folder, SeedSpread=[{"scalar": "test.loss"}, against])
    for run in runs_of(folder)[:5]:  # so that some crossed
        rows = (run.path / "metrics.jsonl").read_text().splitlines()
        rows = [json.dumps(json.loads(row) | {"train.accuracy": 1.0}) for row in rows]
        (run.path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    outcomes = analyze_sweep(chosen, ["SeedSpread"])
    assert [(each.name, each.measured) for each in outcomes] == [
        ("GrokkingPhases", 5), ("SeedSpread", 1), ("SeedSpread", 1),
    ]  # fmt: skip
    spreads = [each.load() for each in saved(folder, ["SeedSpread"])]
    assert {each.scalar for each in spreads} >= {"test.loss", "GrokkingPhases.t_train"}


def test_options_survive_the_file(folder):
    chosen = options(folder, SeedSpread={"scalar": "test.loss"})
    (folder.path / "sweep.toml").write_text(chosen.sweep.to_toml())
    assert find_sweep(folder.path) == chosen


def test_options_change_no_run(folder):
    assert options(folder, SeedSpread={"scalar": "test.loss"}).experiments() == folder.experiments()


def test_an_unknown_option_is_refused(folder):
    with pytest.raises(ValueError, match=r"analyses\.SeedSpread: no option 'sclar'; it takes:"):
        options(folder, SeedSpread={"sclar": "test.loss"})


def test_options_of_another_kind_of_result_are_refused(folder):
    with pytest.raises(ValueError, match=r"no 'WeightNorms' of a .*; there are .*OutcomeShares"):
        options(folder, WeightNorms={"per_layer": True})


def test_what_no_run_has_is_told(folder):
    chosen = options(folder, SeedSpread={"scalar": "test.f1"})
    assert analyze_sweep(chosen, ["SeedSpread"])[0].reason == "no run has test.f1"


def test_an_analysis_that_refuses_is_told_when_all_else_is_measured(folder):
    wrong = {"scalar": CATEGORY, "against": LR}
    chosen = options(folder, SeedSpread=[wrong, {"scalar": "test.loss"}])
    with pytest.raises(ValueError, match=r"GrokkingPhases\.category is text; OutcomeShares counts"):
        analyze_sweep(chosen, ["SeedSpread"])
    assert "test.loss" in {each.load().scalar for each in saved(folder, ["SeedSpread"])}


def test_a_run_that_cannot_be_measured_stops_no_other(folder):
    for file in (runs_of(folder)[0].path / "checkpoints").iterdir():
        file.write_bytes(b"damaged")
    damaged = pytest.raises(ValueError, match="every checkpoint is damaged")
    with pytest.warns(UserWarning, match="is skipped"), damaged:
        analyze_sweep(folder, ["WeightNorms"])
    assert all(saved(run, ["WeightNorms"]) for run in runs_of(folder)[1:])


def add_garbage(run):
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write("garbage\n")


def test_a_run_whose_metrics_are_damaged_is_named_when_the_others_are_measured(folder):
    damaged, *others = runs_of(folder)
    add_garbage(damaged)
    message = rf"{damaged.name}/metrics\.jsonl, line \d+ is not a row of metrics"
    with pytest.raises(ValueError, match=message):
        analyze_sweep(folder, ["WeightNorms", "SeedSpread"])
    assert all(saved(run, ["WeightNorms"]) for run in others)
    assert saved(folder, ["SeedSpread"])[0].load().runs == tuple(run.name for run in others)


def test_a_sweep_whose_runs_are_all_damaged_is_refused(folder):
    for run in runs_of(folder):
        add_garbage(run)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line \d+ is not a row"):
        analyze_sweep(folder)


def test_the_table_holds_no_result_of_another_checkpoint(folder):
    first, *others = runs_of(folder)
    for run in (first, *others):
        analyze(run, ["WeightNorms"])
    first.checkpoint(40).write_bytes(first.checkpoint(0).read_bytes())
    warned = r"WeightNorms.*40\.npz is of another checkpoint.*Run `interp analyze"
    with pytest.warns(UserWarning, match=warned):
        table = sweep_table(finished_runs(folder), ["WeightNorms"]).set_index("run")
    assert list(table["WeightNorms.total"].dropna().index) == [run.name for run in others]


def test_the_table_holds_no_earlier_step_in_place_of_the_last(folder):
    first, *others = runs_of(folder)
    for run in (first, *others):
        analyze(run, ["WeightNorms"])
    saved(first, ["WeightNorms"])[0].file().unlink()
    table = sweep_table(finished_runs(folder), ["WeightNorms"]).set_index("run")
    assert list(table["WeightNorms.total"].dropna().index) == [run.name for run in others]


@pytest.mark.parametrize("shares", [(0.5, None), (None, 0.5)])
def test_the_table_holds_the_result_of_the_options_that_a_run_has_today(folder, shares):
    run = runs_of(folder)[0]
    file = run.path / "experiment.toml"
    text = file.read_text().replace("[analyses]", "")
    for share in shares:
        more = "" if share is None else f"[analyses.FourierSpectrum]\nshare = {share}\n"
        file.write_text(f"{text}\n{more}")
        analyze(Run(run.path), ["FourierSpectrum"])
    options = {} if shares[1] is None else {"share": shares[1]}
    wanted = FourierSpectrum.measure(run.snapshot(), **options).summary()["key_count"]
    table = sweep_table(finished_runs(folder), ["FourierSpectrum"]).set_index("run")
    assert table["FourierSpectrum.key_count"].dropna().to_dict() == {run.name: wanted}


def test_a_run_whose_checkpoint_changed_has_the_whole_measured_again(folder):
    runs_of(folder)[0].checkpoint(20).unlink()
    assert counts(analyze_sweep(folder, ["SeedSpread"])) == {"SeedSpread": (1, 0)}


def test_a_result_of_many_runs_is_no_analysis_of_one(run):
    with pytest.raises(ValueError, match="SeedSpread describes a whole sweep: analyse the sweep's"):
        analyze(run, ["SeedSpread"])


def test_a_spread_of_saved_scalars_runs_over_steps(folder):
    analyze_sweep(options(folder, SeedSpread={"scalar": "WeightNorms.total"}), ["SeedSpread"])
    spreads = [each.load() for each in saved(folder, ["SeedSpread"])]
    (norms,) = [each for each in spreads if each.scalar == "WeightNorms.total"]
    assert isinstance(norms, SeedSpread)
    assert tuple(norms.steps) == runs_of(folder)[0].steps
