"""Stacks, jobs and parts: every run once, whole stacks, and the same on every machine."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.cli.commands import app
from interp.config.experiment import Experiment
from interp.sweeps.groups import Group, Part, Worker, bundled, cost, grouped, kinds, part_of
from interp.sweeps.launch import groups_for, part_in
from interp.sweeps.sweep import Sweep, SweepFolder
from interp.training.stack import stack_key
from tests.interp.sweeps.short_sweeps import VARY, short_sweep
from tests.planted import tiny_experiment

STEPS = (10, 20, 50)  # kinds that cost differently
GPU = Worker("cuda", 80 * 10**9)


def mixed(counts: list[int]) -> Group:
    """Experiments of several kinds, in turn: so many of each."""
    kinds_of_steps = {
        steps: tiny_experiment(steps=steps) for steps, _ in zip(STEPS, counts, strict=False)
    }
    return {
        Path(f"{steps}-{seed}"): kinds_of_steps[steps].with_seed(seed)
        for seed in range(max(counts))
        for (steps, count) in zip(STEPS, counts, strict=False)
        if seed < count
    }


sweeps = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(mixed)
stacks = st.integers(1, 9)
counts = st.integers(1, 20)


@settings(deadline=None, max_examples=50)
@given(experiments=sweeps, stack=stacks, count=counts)
def test_every_run_is_in_exactly_one_part(experiments, stack, count):
    groups = grouped(experiments, Worker(), stack)
    parts = [part_of(groups, Part(number, count)) for number in range(1, count + 1)]
    assert sorted(path for part in parts for path in part) == sorted(experiments)


@settings(deadline=None, max_examples=50)
@given(experiments=sweeps, stack=stacks, count=counts)
def test_a_worker_cuts_the_same_stacks_again(experiments, stack, count):
    groups = {tuple(group) for group in grouped(experiments, Worker(), stack)}
    again = [
        tuple(group)
        for bundle in bundled(grouped(experiments, Worker(), stack), count)
        for group in grouped(bundle, Worker(), stack)
    ]
    assert len(again) == len(groups)
    assert set(again) == groups


@settings(deadline=None, max_examples=50)
@given(experiments=sweeps, stack=stacks, count=counts)
def test_parts_cost_alike_up_to_the_dearest_stack(experiments, stack, count):
    groups = grouped(experiments, Worker(), stack)
    bundles = bundled(groups, count)
    costs = [
        sum(cost(group) for group in grouped(bundle, Worker(), stack)) for bundle in bundles
    ] + [0.0] * (count > len(bundles))
    assert max(costs) - min(costs) <= max(map(cost, groups)) * (1 + 1e-9)


@settings(deadline=None, max_examples=50)
@given(experiments=sweeps, stack=stacks)
def test_a_stack_is_of_one_kind_and_no_larger_than_asked(experiments, stack):
    for group in grouped(experiments, Worker(), stack):
        assert len({stack_key(each).to_toml() for each in group.values()}) == 1
        assert len(group) <= stack


def test_parts_beyond_the_stacks_are_empty():
    groups = grouped(mixed([8]), Worker(), 4)
    assert [len(part_of(groups, Part(number, 4))) for number in range(1, 5)] == [4, 4, 0, 0]


def test_parts_do_not_depend_on_what_is_finished(tmp_path):
    folder = SweepFolder(tmp_path, short_sweep(vary=VARY))
    before = [part_in(folder, Part(number, 3), Worker(), 2) for number in (1, 2, 3)]
    for path in list(before[0])[:3]:
        path.mkdir()
        (path / "failure.json").write_text('{"reason": "diverged"}')
    assert [part_in(folder, Part(number, 3), Worker(), 2) for number in (1, 2, 3)] == before
    left = [groups_for(folder, device="cpu", stack=2, part=Part(n, 3)) for n in (1, 2, 3)]
    named = [{path for group in groups for path in group} for groups in left]
    assert named == [set(list(before[0])[2:]), set(before[1]), set(before[2])]


@pytest.mark.parametrize("worker", [Worker(), GPU], ids=["CPU", "GPU"])
def test_parts_do_not_depend_on_the_machine(worker, tmp_path, monkeypatch):
    def no_machine(*args):
        raise AssertionError("the machine was asked")

    folder = SweepFolder(tmp_path, short_sweep(vary=VARY))
    monkeypatch.setattr("torch.cuda.is_available", no_machine)
    monkeypatch.setattr("torch.cuda.get_device_properties", no_machine)
    monkeypatch.setattr("os.cpu_count", no_machine)
    monkeypatch.setattr("os.sched_getaffinity", no_machine, raising=False)
    sizes = [len(part_in(folder, Part(number, 2), worker)) for number in (1, 2)]
    assert sizes == ([4, 4] if worker.device == "cpu" else [8, 0])


def test_kinds_are_those_of_stack_keys():
    base = tiny_experiment()
    others = [
        base.with_seed(3),
        base.model_copy(update={"name": "other"}),
        tiny_experiment(lr=0.5),
        tiny_experiment(steps=41),
        tiny_experiment(batch_size=4),
        base.model_copy(update={"training": tiny_experiment(steps=41).training}),
        Experiment.model_validate(base.model_dump(mode="json", exclude_none=True)),
    ]
    kind_of = kinds()
    is_same = [kind_of(base) == kind_of(other) for other in others]
    assert is_same == [True, True, True, False, False, False, True]


def test_how_many_fit_a_gpu_is_asked_once_for_a_kind(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "interp.sweeps.groups.replicas_that_fit",
        lambda experiment, memory: asked.append(experiment) or 100,
    )
    experiments = mixed([40, 40])
    assert [len(group) for group in grouped(experiments, GPU)] == [40, 40]
    assert len(asked) == 2


def test_a_key_is_made_once_for_runs_that_share_all_but_seeds(monkeypatch):
    made = []
    monkeypatch.setattr(
        "interp.sweeps.groups.stack_key",
        lambda experiment: made.append(experiment) or stack_key(experiment),
    )
    experiments = short_sweep(vary=VARY, seeds=50).experiments()
    grouped({Path(name): each for name, each in experiments.items()}, Worker())
    assert len(made) == 4


def run_command(capsys, *arguments: object) -> str:
    app([*map(str, arguments)], standalone_mode=False)
    return capsys.readouterr().out


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "short.toml"
    path.write_text(short_sweep().to_toml())
    return path


def test_an_empty_part_says_so_in_one_line(file, tmp_path, capsys):
    out = run_command(capsys, "sweep", file, "--out", tmp_path / "out", "--part", "9/16")
    assert out == f"{tmp_path / 'out'}: part 9/16 is empty: there are more parts than stacks\n"
    assert not (tmp_path / "out").exists()


def test_a_part_says_what_it_trains(file, tmp_path, capsys):
    place = ("--out", tmp_path / "out", "--part", "2/2")
    assert "part 2/2, 1 runs, 1 of them" in run_command(capsys, "sweep", file, *place, "--dry-run")
    lines = run_command(capsys, "sweep", file, *place, "--workers", 1).splitlines()
    assert lines[0].startswith("part 2/2, 1 models, each alone")
    assert lines[-1] == f"trained {tmp_path / 'out'}: part 2/2, 1 runs"


def sweep_of_many() -> Sweep:
    return short_sweep(vary={**VARY, "model.d_model": [8, 16]}, seeds=[0, 7, 2**63 - 1])


def test_folders_are_named_by_the_digests_of_their_experiments():
    for name, experiment in sweep_of_many().experiments().items():
        assert name == f"{experiment.name}-{experiment.digest[:8]}"


def test_runs_of_a_sweep_are_what_their_own_text_says():
    for experiment in sweep_of_many().experiments().values():
        table = experiment.model_dump(mode="json", exclude_none=True)
        assert Experiment.model_validate(table) == experiment
        assert len(set(experiment.seeds.model_dump().values())) == 1


def test_a_changed_copy_of_a_sweep_has_its_own_runs():
    sweep = short_sweep(vary=VARY)
    assert len(sweep.experiments()) == 8
    assert len(sweep.model_copy(update={"seeds": (0,)}).experiments()) == 4


def test_what_is_done_with_the_runs_leaves_the_sweep_as_it_is():
    sweep = short_sweep()
    sweep.experiments().clear()
    assert len(sweep.experiments()) == 2
    folder = SweepFolder(Path("sweep"), sweep)
    folder.experiments().clear()
    assert len(folder.experiments()) == 2


def test_a_sweep_equals_itself_read_again_after_its_runs_were_made():
    sweep, again = short_sweep(), short_sweep()
    assert sweep.experiments()
    assert sweep == again
