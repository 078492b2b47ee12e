"""Which saved results still hold, and that nothing else is read."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from analyses import FourierSpectrum
from interp.measure.analyze import analyze, trace
from interp.pages import write_report
from interp.runs.current import current_results, saved_scalars
from interp.runs.results import read_header, read_result, saved, write_result
from interp.runs.run import Run
from tests.interp.pages.written import only_page

NAMES = ["PruningTrace", "FourierSpectrum", "WeightNorms"]


@pytest.fixture
def analysed(folder):
    analyze(Run(folder), NAMES)
    return Run(folder)


def edit(run, old, new):
    """The run with a line of its experiment changed."""
    file = run.path / "experiment.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return Run(run.path)


def with_share(run, share):
    """The run whose experiment has an option for FourierSpectrum, or none."""
    table = "" if share is None else f"[analyses.FourierSpectrum]\nshare = {share}\n"
    head = (run.path / "experiment.toml").read_text().partition("[analyses")[0]
    (run.path / "experiment.toml").write_text(f"{head}\n{table}")
    return Run(run.path)


def steps(held):
    return {each.name: each.steps for each in held}


def test_everything_that_was_just_measured_holds(analysed):
    held, why = current_results(analysed)
    every = analysed.steps
    assert steps(held) == {"FourierSpectrum": every, "WeightNorms": every, "PruningTrace": ()}
    assert why == ""


def test_nothing_saved_is_nothing_passed_over(folder):
    assert current_results(Run(folder)) == ([], "")


def test_a_result_of_another_checkpoint_does_not_hold(analysed):
    analysed.checkpoint(20).write_bytes(analysed.checkpoint(10).read_bytes())
    held, why = current_results(analysed)
    rest = (0, 10, 30, 40)
    assert steps(held) == {"FourierSpectrum": rest, "WeightNorms": rest}
    assert "FourierSpectrum at step 20: of another checkpoint" in why
    assert f"Run `interp analyze {analysed.path}`" in why


def test_a_result_of_a_step_without_a_checkpoint_does_not_hold(analysed):
    analysed.checkpoint(20).unlink()
    held, why = current_results(analysed, ["FourierSpectrum"])
    assert steps(held) == {"FourierSpectrum": (0, 10, 30, 40)}
    assert "at step 20: of a step without a checkpoint" in why


def test_no_result_of_another_task_holds(analysed):
    held, why = current_results(edit(analysed, 'operation = "add"', 'operation = "subtract"'))
    assert held == []
    assert "WeightNorms at steps 0, 10, 20, 30, 40: of another task or model" in why


def test_a_damaged_result_does_not_hold(analysed):
    saved(analysed, ["WeightNorms"])[0].file(10).write_bytes(b"nonsense")
    held, why = current_results(analysed)
    assert steps(held)["WeightNorms"] == (0, 20, 30, 40)
    assert "WeightNorms at step 10: damaged" in why


def test_a_file_of_an_older_version_can_be_read_and_does_not_hold(analysed):
    file = saved(analysed, ["FourierSpectrum"])[0].file(10)
    result, header = read_result(file, FourierSpectrum)
    del header["experiment"], header["step"]
    write_result(file, result, header)
    old = saved(analysed, ["FourierSpectrum"])[0].load(10)
    pd.testing.assert_frame_equal(old.to_frame(), result.to_frame())
    held, why = current_results(analysed, ["FourierSpectrum"])
    assert steps(held) == {"FourierSpectrum": (0, 20, 30, 40)}
    assert "at step 10: of an older version" in why


def test_a_report_draws_what_holds_and_names_the_rest_with_the_command(analysed, tmp_path):
    saved(analysed, ["WeightNorms"])[0].file(10).write_bytes(b"nonsense")
    for file in saved(analysed, ["FourierSpectrum"])[0].path.iterdir():
        file.write_bytes(b"nonsense")
    with pytest.warns(UserWarning, match="Run `interp analyze") as warned:
        page = only_page([analysed], tmp_path / "report")
    assert len(warned) == 1
    assert "<h2>Weight norms</h2>" in page
    assert "<h2>Fourier spectrum</h2>" not in page


def test_a_result_that_cannot_be_drawn_stops_no_other(analysed, tmp_path, monkeypatch):
    def divides(result):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(FourierSpectrum, "figures", divides)
    warned = "FourierSpectrum cannot be drawn: ZeroDivisionError: division by zero"
    with pytest.warns(UserWarning, match=warned):
        page = only_page([analysed], tmp_path / "report")
    assert "<h2>Weight norms</h2>" in page


def test_a_damaged_run_is_named_and_the_others_are_reported(analysed, run, tmp_path):
    with (analysed.path / "metrics.jsonl").open("a") as file:
        file.write("garbage\n")
    warned = r"a run is left out of the report: .*metrics\.jsonl, line \d+ is not a row"
    with pytest.warns(UserWarning, match=warned):
        page = only_page([analysed, run], tmp_path / "report")
    assert run.name in page


def test_a_report_of_damaged_runs_alone_is_refused(analysed, tmp_path):
    with (analysed.path / "metrics.jsonl").open("a") as file:
        file.write("garbage\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line \d+ is not a row"):
        write_report([analysed], tmp_path / "report")


@pytest.mark.parametrize("shares", [(0.5, None), (None, 0.5)])
def test_scalars_are_of_the_options_that_the_experiment_has_today(folder, shares):
    run = Run(folder)
    for share in shares:
        run = with_share(run, share)
        analyze(run, ["FourierSpectrum"])
    options = {} if shares[1] is None else {"share": shares[1]}
    found = run.series().scalars("FourierSpectrum")
    wanted = [
        FourierSpectrum.measure(each, **options).summary() for each in run.series().snapshots()
    ]
    assert found["key_count"].tolist() == [each["key_count"] for each in wanted]
    assert found.attrs["options"] == options
    assert found.attrs["checkpoints"][40] == run.checkpoint_hash(40)


def test_scalars_of_other_options_alone_are_refused(analysed):
    with pytest.raises(
        ValueError, match=r"options \{'share': 0\.5\} is current; .*: not there; run"
    ):
        with_share(analysed, 0.5).series().scalars("FourierSpectrum")


def test_scalars_leave_out_a_step_whose_checkpoint_has_changed_and_say_so(analysed):
    analysed.checkpoint(20).write_bytes(analysed.checkpoint(10).read_bytes())
    with pytest.warns(UserWarning, match="FourierSpectrum at step 20: of another checkpoint"):
        found = saved_scalars(analysed, "FourierSpectrum")
    assert found["step"].tolist() == [0, 10, 30, 40]


def test_scalars_of_another_task_are_refused(analysed):
    edited = edit(analysed, 'operation = "add"', 'operation = "subtract"')
    with pytest.raises(
        ValueError, match=r"no saved result of FourierSpectrum is current; .*task or "
    ):
        edited.series().scalars("FourierSpectrum")


def test_a_result_of_a_whole_run_has_no_scalars_by_step(analysed):
    with pytest.raises(ValueError, match="PruningTrace is of a whole run or sweep, and has no"):
        analysed.series().scalars("PruningTrace")


def test_a_trace_has_the_options_of_the_experiment_unless_others_are_given(run, folder):
    found = trace(with_share(Run(folder), 0.5), FourierSpectrum)
    pd.testing.assert_frame_equal(found, trace(run, FourierSpectrum, share=0.5))
    assert found.attrs["options"] == {"share": 0.5}
    given = trace(with_share(Run(folder), 0.5), FourierSpectrum, share=0.9)
    pd.testing.assert_frame_equal(given, trace(run, FourierSpectrum, share=0.9))


def test_what_is_no_run_is_refused_in_a_line(run):
    # In a process without the checks on annotations, which would refuse it first.
    code = (
        "import sys, json, interp; from analyses import FourierSpectrum as F, PruningTrace, trace;"
        "run = interp.load(sys.argv[1]); series = run.series(); told = []\n"
        "for call in (lambda: interp.report([series], 'x'), lambda: interp.report(run, 'x'),"
        " lambda: interp.trace(series, F), lambda: interp.trace(run, 3),"
        " lambda: interp.analyze(series), lambda: trace(series, PruningTrace)):\n"
        "  try: call()\n"
        "  except (TypeError, ValueError) as error: told.append(str(error))\n"
        "print(json.dumps(told))"
    )
    asked = [sys.executable, "-c", code, str(run.path)]
    told = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    assert told == [
        "a report takes a run, interp.load(FOLDER); got a GivenCheckpoints",
        "a report takes a list of runs, [interp.load(FOLDER)]; got a Run",
        "interp.trace takes a run, interp.load(FOLDER); got a GivenCheckpoints; of other "
        "checkpoints: analyses.trace(checkpoints, ...)",
        "a trace takes a class of results, such as FourierSpectrum; got 3",
        "interp.measure.analyze takes a run, interp.load(FOLDER); got a GivenCheckpoints",
        "PruningTrace describes a whole run: call its measure(run)",
    ]


def test_a_header_says_task_and_model(analysed):
    header = read_header(saved(analysed, ["FourierSpectrum"])[0].file())
    assert len(header["experiment"]) == 16
    assert header["step"] == 40
