import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from interp.cli import commands as cli
from interp.runs.run import load
from tests.planted import tiny_experiment


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def call(monkeypatch, capsys, *arguments):
    """Runs the command line in this process: exit code, output, errors."""
    monkeypatch.setattr(sys, "argv", ["interp", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    return stopped.value.code or 0, printed.out, printed.err


@pytest.fixture
def interp(monkeypatch, capsys):
    return lambda *arguments: call(monkeypatch, capsys, *arguments)


def test_a_command_that_is_interrupted_says_how_to_go_on(interp, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("interp.load", interrupted)
    code, _, said = interp("show", "runs/demo")
    assert (code, said) == (130, "interp: stopped; the same command carries on\n")


# What no command needs, and what each of some commands does without.
NEVER = {"transformer_lens", "transformers", "datasets", "sklearn", "torch._dynamo"}
WITHOUT = {
    "--help": {"torch", "pandas", "plotly", "pydantic", "scipy", "networkx"},
    "presets": {"torch", "pandas", "plotly", "scipy", "networkx"},
    "train {short} --out {new}": {"pandas", "scipy", "networkx"},
    "analyze {run}": {"pandas", "scipy", "networkx"},
    "show {run} --out {new}": {"pandas", "scipy", "networkx"},
    "report {run} --out {new}": {"networkx"},
}


@pytest.mark.parametrize("command", WITHOUT)
def test_a_command_imports_what_it_needs_and_no_more(command, folder, tmp_path):
    from interp.measure.analyze import analyze

    run, short = tmp_path / "run", tmp_path / "short.toml"
    shutil.copytree(folder, run)
    analyze(load(run), ["FourierSpectrum"])
    short.write_text(tiny_experiment(steps=1).to_toml())
    places = {"run": run, "short": short, "new": tmp_path / "new"}
    arguments = [part.format(**places) for part in command.split()]
    arguments += ["--only", "FourierSpectrum"] if arguments[0] == "analyze" else []
    code = f"""
import sys
from interp.cli import commands as cli
sys.argv = ["interp", *{arguments!r}]
try:
    cli.main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
finally:
    print("imported:", {NEVER | WITHOUT[command]!r} & set(sys.modules))
"""
    assert python(code).splitlines()[-1] == "imported: set()"


def test_results_load_without_what_only_measuring_needs(folder):
    from interp.measure.analyze import analyze

    analyze(load(folder), ["FourierSpectrum"])
    code = f"""
import sys, interp
from interp.runs.results import saved
[each.load() for each in saved(interp.load({str(folder)!r}))]
print({{"transformer_lens", "sklearn"}} & set(sys.modules))
"""
    assert python(code).strip() == "set()"


@pytest.mark.parametrize(
    "command",
    [
        *("demo", "train", "sweep", "analyze", "report", "show", "push", "pull"),
        *("new", "tasks", "analyses", "presets"),
    ],
)
def test_the_help_of_every_command_has_an_example(interp, command):
    code, out, _ = interp(command, "--help")
    assert code == 0
    assert f"Example: interp {command}" in out


def test_analyze_takes_a_device(interp, folder):
    assert (
        "WeightNorms: 0 measured"
        not in interp("analyze", folder, "--only", "WeightNorms", "--device", "cpu")[1]
    )
    code, _, said = interp("analyze", folder, "--device", "tpu")
    assert (code, "'tpu' is not one of 'auto', 'cpu', 'cuda'" in said) == (2, True)


def test_analyses_that_do_not_apply_are_counted_in_one_line(interp, folder):
    printed = interp("analyze", folder)[1]
    lines = [line.partition("  ")[2] for line in printed.splitlines()]
    assert lines[-1] == "11 do not apply (--why says which and why)"
    assert all(" measured, " in line for line in lines[:-1])


def test_why_says_of_each_analysis_that_does_not_apply_why(interp, folder):
    printed = interp("analyze", folder, "--why")[1]
    assert f"{folder}  TreeProjection: needs gold trees" in printed
    assert "do not apply" not in printed
    assert sum(" measured, " not in line for line in printed.splitlines()) == 11


def test_an_analysis_asked_for_by_name_says_why_it_does_not_apply(interp, folder):
    printed = interp("analyze", folder, "--only", "TreeProjection")[1]
    assert printed.startswith(f"{folder}  TreeProjection: needs gold trees")
    assert printed.count("\n") == 1


def test_an_analysis_that_applies_to_no_run_of_a_sweep_is_counted(interp, experiment, tmp_path):
    (tmp_path / "tiny.toml").write_text(experiment.to_toml())
    out = tmp_path / "seeds"
    interp("train", tmp_path / "tiny.toml", "--seeds", 2, "--out", out, "--workers", 1)
    printed = interp("analyze", out)[1]
    assert "do not apply (--why says which and why)\n" in printed
    assert "TreeProjection" not in printed
    assert "TreeProjection: 0 measured, 0 kept; 2 runs: needs" in interp("analyze", out, "--why")[1]


def test_lists_name_what_there_is(interp):
    assert "modular_arithmetic" in interp("tasks")[1]
    assert "FourierSpectrum" in interp("analyses")[1]
    assert "modular-addition-113" in interp("presets")[1]


def test_a_printed_preset_is_an_experiment(interp, tmp_path):
    from interp.config.experiment import load_experiment

    file = tmp_path / "modular-addition.toml"
    file.write_text(interp("presets", "modular-addition")[1])
    assert load_experiment(file) == load_experiment("modular-addition")


def test_train_analyze_show_and_report_work_one_after_the_other(interp, experiment, tmp_path):
    toml, run, pages = tmp_path / "tiny.toml", tmp_path / "run", tmp_path / "pages"
    toml.write_text(experiment.to_toml())
    assert "5 checkpoints" in interp("train", toml, "--out", run, "--seed", 3)[1]
    assert load(run).experiment.seeds.data == 3
    assert "FourierSpectrum: 5 measured" in interp("analyze", run)[1]
    assert interp("show", run, "--out", tmp_path / "show.html")[0] == 0
    assert interp("report", run, "--out", pages)[0] == 0
    assert (pages / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "nonsense"), "nonsense is neither a TOML file nor a preset"),
        (("report", "{tmp}"), "{tmp} holds no run"),
        (("analyze", "{tmp}/none"), "{tmp}/none holds no run"),
        (("show", "{tmp}"), "{tmp} is not a run folder"),
        (("analyze", "{run}", "--only", "Fourier"), "no analysis 'Fourier'"),
        (("show", "{run}", "--step", "7"), "step 7 was not kept; there are 0, 10, 20"),
        (("show", "{run}", "--split", "dev"), "split 'dev' is none of all, train, test"),
        (("nonsense",), "No such command 'nonsense'"),
        (("train",), "Missing argument"),
        (("train", "modular-addition", "--seed", "-1"), "--seed"),
        (("train", "modular-addition", "--seed", "1", "--seeds", "2"), "give one of the two"),
        (("sweep", "nonsense"), "nonsense is neither a TOML file nor a sweep; sweeps: addition"),
    ],
)
def test_an_error_is_one_line_and_code_2(interp, folder, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"tmp": tmp_path / "empty", "run": folder}
    code, out, err = interp(*(each.format(**places) for each in arguments))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message.format(**places) in err


def test_show_does_not_replace_a_file_that_is_no_page_of_its_own(interp, folder):
    before = (folder / "experiment.toml").read_bytes()
    code, _, said = interp("show", folder, "--out", folder / "experiment.toml")
    assert (code, said.count("\n")) == (2, 1)
    assert "experiment.toml is something else than a page of views; choose another file" in said
    assert (folder / "experiment.toml").read_bytes() == before


def test_a_model_that_does_not_fit_into_memory_is_refused_by_its_sizes(
    interp, experiment, tmp_path
):
    huge = experiment.model.model_copy(update={"d_mlp": 10**16})
    toml = experiment.model_copy(update={"model": huge}).to_toml()
    (tmp_path / "huge.toml").write_text(toml)
    code, _, said = interp("train", tmp_path / "huge.toml", "--out", tmp_path / "run")
    assert (code, said.count("\n")) == (2, 1)
    assert "d_mlp 10000000000000000 need" in said


def test_too_little_memory_is_one_line(interp, monkeypatch):
    monkeypatch.setattr("interp.load", lambda path: torch.empty(2**58))
    code, _, said = interp("show", "runs/demo")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("interp: there is too little memory")
    assert "tried to allocate" in said


def test_arrays_that_do_not_fit_into_memory_are_one_line(interp, monkeypatch):
    monkeypatch.setattr("interp.load", lambda path: np.empty(2**58))
    code, _, said = interp("show", "runs/demo")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("interp: there is too little memory")
    assert "Unable to allocate 2.00 EiB" in said


def test_several_seeds_are_a_sweep(interp, experiment, tmp_path):
    toml, out = tmp_path / "tiny.toml", tmp_path / "seeds"
    toml.write_text(experiment.to_toml())
    printed = interp("train", toml, "--seeds", 2, "--out", out, "--workers", 1, "--stack", 2)[1]
    assert "2 models, in stacks of up to 2, 1 at work" in printed
    assert f"trained {out}: 2 runs" in printed
    assert len(list(out.glob("s?-*/checkpoints/40.safetensors"))) == 2


def test_a_dry_run_says_what_a_sweep_would_train(interp, experiment, tmp_path):
    (tmp_path / "tiny.toml").write_text(experiment.to_toml())
    file = tmp_path / "sweep.toml"
    file.write_text('base = "tiny.toml"\nseeds = 2\n[vary]\n"training.lr" = [1e-3, 1e-2]\n')
    printed = interp("sweep", file, "--out", tmp_path / "out", "--dry-run")[1]
    assert "4 runs, 4 of them to be trained into" in printed
    assert "4 models of 719 parameters, each alone, 40 steps: about" in printed
    assert not (tmp_path / "out").exists()


def test_presets_of_sweeps_are_listed_and_load(interp):
    from interp.presets import preset_names
    from interp.sweeps.sweep import load_sweep

    listed = interp("presets")[1]
    assert all(name in listed and load_sweep(name).experiments() for name in preset_names("sweeps"))


def test_a_run_that_cannot_be_analysed_stops_no_other(interp, folder, tmp_path):
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    shutil.copy(folder / "experiment.toml", tmp_path / "runs" / "empty")
    shutil.copytree(folder, tmp_path / "runs" / "whole")
    code, out, err = interp("analyze", tmp_path / "runs", "--only", "WeightNorms")
    assert code == 2
    assert "WeightNorms: 5 measured" in out
    assert "no checkpoints" in err


def test_without_arguments_the_help_is_printed(interp):
    code, out, _ = interp()
    assert code == 0
    assert out.startswith("Usage: ")


def test_a_single_file_is_named_for_its_run(interp, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert interp("report", folder, "--single-file")[1] == "wrote copy.html\n"
    assert (tmp_path / "copy.html").is_file()


def test_a_single_file_of_two_runs_is_refused_in_one_line(interp, folder, tmp_path):
    code, out, err = interp("report", folder, folder, "--single-file")
    assert (code, out) == (2, "")
    assert err.startswith("interp: a single file holds one run, 2 were named")
    assert err.count("\n") == 1


def test_a_report_on_an_empty_folder_writes_nothing(interp, tmp_path):
    (tmp_path / "empty").mkdir()
    interp("report", tmp_path / "empty", "--out", tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


def test_a_half_written_last_line_of_metrics_is_a_warning_in_one_line(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    command = [sys.executable, "-m", "interp", "analyze", folder, "--only", "GrokkingPhases"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    warning = f"interp: {folder}/metrics.jsonl: half-written last line passed over"
    assert done.stderr.splitlines() == [warning]
