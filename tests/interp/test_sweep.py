import json
import os
import re
import signal
import threading
import time
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch.testing import assert_close

from interp.experiment import Experiment, load_experiment
from interp.groups import described, grouped, seconds_a_step
from interp.run import Run
from interp.sweep import Sweep, SweepFolder, find_sweep, load_sweep
from interp.sweeping import check_folder, train_sweep
from interp.train import train
from tests.planted import tiny_experiment

VARY = {"training.lr": [1e-3, 1e-2], "training.weight_decay": [0.1, 1.0]}


def tiny_sweep(**options) -> Sweep:
    table = {
        "name": "tiny",
        "base": tiny_experiment(steps=10, checkpoints={"every": 5}),
        "seeds": 2,
    }
    return Sweep.model_validate(table | options)


def test_a_grid_has_every_combination_with_every_seed():
    assert len(tiny_sweep(vary=VARY).members()) == 2 * 2 * 2


def test_zip_takes_the_lists_side_by_side():
    members = tiny_sweep(vary=VARY, mode="zip").members().values()
    fields = ("training.lr", "training.weight_decay")
    pairs = {tuple(each.fields[name] for name in fields) for each in members}
    assert pairs == {(1e-3, 0.1), (1e-2, 1.0)}


def test_a_list_of_one_value_is_for_all_that_zip_pairs():
    vary = VARY | {"training.optimizer": ["adam"]}
    members = tiny_sweep(vary=vary, mode="zip").members().values()
    assert {each.fields["training.optimizer"] for each in members} == {"adam"}
    assert len(members) == len(tiny_sweep(vary=VARY, mode="zip").members())


def test_without_lists_a_sweep_is_its_seeds():
    seeds = [each.seeds.model for each in tiny_sweep(seeds=[3, 5]).members().values()]
    assert seeds == [3, 5]


def test_folders_are_named_by_what_is_their_own():
    first = next(iter(tiny_sweep(vary=VARY).members()))
    assert first.startswith("lr-0.001_weight_decay-0.1_s0-")


@pytest.mark.parametrize(
    ("field", "value", "slug"),
    [("lr", 1e20, "lr-1e20"), ("lr", 1e-20, "lr-1e-20"), ("betas", [0.9, 0.98], "betas-0.9-0.98")],
)
def test_a_folder_tells_a_value_by_its_digits(field, value, slug):
    base = [0.8, 0.9] if field == "betas" else 1.0
    *_, last = tiny_sweep(vary={f"training.{field}": [base, value]}, seeds=1).members()
    assert last.startswith(f"{slug}_s0-")


def test_a_list_of_one_value_is_set_and_no_axis():
    sweep = tiny_sweep(vary={"training.lr": [0.5]})
    lrs = {each.fields["training.lr"] for each in sweep.members().values()}
    assert (sweep.axes, lrs) == ((), {0.5})


def test_whole_tables_can_vary():
    tasks = [{"name": "modular_arithmetic", "p": p, "train_fraction": 0.5} for p in (5, 7)]
    members = tiny_sweep(vary={"task": tasks}).members().values()
    assert {each.task.constants["p"] for each in members} == {5, 7}


def test_a_sweep_survives_its_file(tmp_path):
    sweep = tiny_sweep(vary=VARY)
    (tmp_path / "tiny.toml").write_text(sweep.to_toml())
    assert load_sweep(tmp_path / "tiny.toml").members() == sweep.members()


def test_a_base_may_be_a_file_beside_it(tmp_path):
    (tmp_path / "base.toml").write_text(tiny_experiment().to_toml())
    (tmp_path / "sweep.toml").write_text('base = "base.toml"\nseeds = 3\n')
    assert load_sweep(tmp_path / "sweep.toml").base == tiny_experiment()


def test_a_base_may_be_a_preset(tmp_path):
    (tmp_path / "sweep.toml").write_text('base = "modular-addition"')
    assert load_sweep(tmp_path / "sweep.toml").base.task.constants["p"] == 53


@dataclass
class Fault:
    text: str
    message: str


BASE = 'base = "modular-addition"\n'
FAULTS = {
    "empty list": Fault(BASE + '[vary]\n"training.lr" = []', r"vary\.training\.lr: an empty list"),
    "unknown field": Fault(BASE + '[vary]\n"training.lrr" = [1.0]', r"training\.lrr: unknown key"),
    "unknown table": Fault(BASE + '[vary]\n"trainin.lr" = [1.0]', r"trainin: unknown key"),
    "wrong value": Fault(BASE + '[vary]\n"training.lr" = ["a"]', r"training\.lr: .*got 'a'"),
    "no table": Fault(BASE + '[vary]\n"name.x" = [1]', r"vary\.name\.x: name is no table"),
    "uneven zip": Fault(
        BASE + 'mode = "zip"\n[vary]\n"training.lr" = [1.0, 2.0, 3.0]\n"training.l1" = [0.1, 0.2]',
        r"zip needs lists of one length; training\.lr has 3, training\.l1 has 2",
    ),
    "no list": Fault(BASE + '[vary]\n"training.lr" = 0.1', r"training\.lr: give a list .*got 0\.1"),
    "no quotes": Fault(
        BASE + "[vary]\ntraining.lr = [1.0]", r'training: a table; .* "training\.lr"'
    ),
    "no seeds": Fault(BASE + "seeds = 0", r"toml: seeds: none"),
    "half a seed": Fault(BASE + "seeds = 0.5", r"seeds: give a list"),
    "seeds as an axis": Fault(BASE + '[vary]\n"seeds.model" = [1, 2]', r"seeds go into 'seeds'"),
    "twice the same": Fault(BASE + "seeds = [1, 1]", r"two members are the same: s1"),
    "unknown base": Fault('base = "nothing"', r"neither a TOML file nor a preset"),
    "no base": Fault("seeds = 3", r"base: Field required"),
    "unknown key": Fault(BASE + "sed = 3", r"sed: unknown key"),
    "not TOML": Fault("base = [", r"not TOML"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_line(fault, tmp_path):
    (tmp_path / "wrong.toml").write_text(fault.text)
    with pytest.raises((ValueError, FileNotFoundError), match=fault.message) as raised:
        load_sweep(tmp_path / "wrong.toml")
    assert "\n" not in str(raised.value)


def test_members_that_share_shapes_are_grouped():
    members = tiny_sweep(vary={"model.d_model": [8, 16], **VARY}).members()
    paths = {Path(name): each for name, each in members.items()}
    assert [len(each) for each in grouped(paths, "cpu", stack=100)] == [8, 8]


def test_groups_are_no_larger_than_a_stack():
    members = {Path(name): each for name, each in tiny_sweep(vary=VARY).members().items()}
    assert [len(each) for each in grouped(members, "cpu", stack=3)] == [3, 3, 2]


def test_on_a_cpu_transformers_train_one_at_a_time():
    members = {Path(name): each for name, each in tiny_sweep(vary=VARY).members().items()}
    assert {len(each) for each in grouped(members, "cpu")} == {1}


def test_stacks_leave_no_worker_idle():
    mlps = load_experiment("parity")
    paths = {Path(str(seed)): mlps.with_seed(seed) for seed in range(10)}
    sizes = [[len(each) for each in grouped(paths, "cpu", workers=n)] for n in (1, 2, 4)]
    assert sizes == [[10], [5, 5], [3, 3, 3, 1]]


def test_stacks_are_not_cut_where_every_worker_has_a_kind():
    mlps = load_experiment("parity")
    wide = mlps.model_copy(update={"model": mlps.model.model_copy(update={"d_mlp": 7})})
    paths = {
        Path(f"{i} {n}"): each.with_seed(n) for i, each in enumerate((mlps, wide)) for n in (0, 1)
    }
    assert [len(each) for each in grouped(paths, "cpu", workers=2)] == [2, 2]


def test_a_group_is_described_with_its_size():
    members = {Path(name): each for name, each in tiny_sweep().members().items()}
    [line] = described(grouped(members, "cpu", stack=2), "cpu")
    assert "2 models of 719 parameters" in line
    assert "in a stack of 2, 10 steps: at most" in line


def test_several_groups_are_summed_up_for_the_workers():
    members = {Path(name): each for name, each in tiny_sweep(vary=VARY).members().items()}
    *_, last = described(grouped(members, "cpu", stack=3), "cpu", workers=2)
    assert re.fullmatch(r"in all at most .* of one worker: .* with 2 at work", last)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("stack", [1, 2], ids=["alone", "stacked"])
def test_trainings_of_few_steps_are_timed(steps, stack):
    sweep = tiny_sweep(base=tiny_experiment(steps=steps))
    members = {Path(name): each for name, each in sweep.members().items()}
    assert seconds_a_step(grouped(members, "cpu", stack=stack)[0], "cpu") > 0


@pytest.mark.parametrize("stack", [1, 8], ids=["alone", "stacked"])
def test_every_member_is_the_run_it_would_be_alone(stack, tmp_path):
    sweep = tiny_sweep(vary=VARY)
    folder = train_sweep(sweep, tmp_path / "sweep", device="cpu", stack=stack)
    path, experiment = next(iter(folder.members().items()))
    alone = train(experiment, tmp_path / "alone", device="cpu")
    assert_close(dict(Run(path).parameters(10)), dict(alone.parameters(10)), rtol=1e-4, atol=1e-5)
    assert [Run(each).steps for each in folder.members()] == [(0, 5, 10)] * 8


def times(folder: SweepFolder) -> list[int]:
    return [(path / "metrics.jsonl").stat().st_mtime_ns for path in folder.members()]


def test_finished_members_are_passed_over(tmp_path):
    first = train_sweep(tiny_sweep(), tmp_path, device="cpu")
    before = times(first)
    assert times(train_sweep(tiny_sweep(), tmp_path, device="cpu")) == before


def test_a_member_that_is_gone_is_trained_again(tmp_path):
    folder = train_sweep(tiny_sweep(), tmp_path, device="cpu")
    lost, kept = folder.members()
    (lost / "checkpoints" / "10.safetensors").unlink()
    before = (kept / "metrics.jsonl").stat().st_mtime_ns
    train_sweep(tiny_sweep(), tmp_path, device="cpu")
    assert Run(lost).steps == (0, 5, 10)
    assert (kept / "metrics.jsonl").stat().st_mtime_ns == before


def test_another_sweeps_folder_is_refused(tmp_path):
    train_sweep(tiny_sweep(), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="is another sweep; choose a new folder"):
        train_sweep(tiny_sweep(seeds=1), tmp_path, device="cpu")


def test_more_seeds_are_added_to_a_sweep(tmp_path):
    first = train_sweep(tiny_sweep(), tmp_path, device="cpu")
    before = times(first)
    grown = train_sweep(tiny_sweep(seeds=3), tmp_path, device="cpu")
    assert [Run(each).steps for each in grown.members()] == [(0, 5, 10)] * 3
    assert times(grown)[:2] == before
    assert load_sweep(tmp_path / "sweep.toml").seeds == (0, 1, 2)


def test_a_dry_run_refuses_another_sweeps_folder_too(tmp_path):
    (tmp_path / "sweep.toml").write_text(tiny_sweep().to_toml())
    with pytest.raises(ValueError, match="is another sweep; choose a new folder"):
        check_folder(SweepFolder(tmp_path, tiny_sweep(seeds=1)))


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"not empty and holds no sweep\.toml"):
        train_sweep(tiny_sweep(), tmp_path, device="cpu")


@pytest.mark.parametrize("stack", [1, 4], ids=["alone", "stacked"])
def test_a_member_that_diverges_is_marked_and_stops_nobody(stack, tmp_path):
    sweep = tiny_sweep(
        base=tiny_experiment(steps=10, optimizer="sgd"), vary={"training.lr": [1e30, 0.1]}
    )
    folder = train_sweep(sweep, tmp_path, device="cpu", stack=stack)
    failures = [bool(Run(path).failure) for path in folder.members()]
    assert failures == [True, True, False, False]
    assert folder.left() == {}


class Recording(Executor):
    """An executor that runs at once what it is handed, and keeps the arguments."""

    def __init__(self) -> None:
        self.handed: list[tuple] = []

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.handed.append(args)
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_an_executor_is_handed_plain_text(tmp_path):
    engine = Recording()
    train_sweep(tiny_sweep(), tmp_path, device="cpu", executor=engine)
    assert json.loads(json.dumps(engine.handed)) == [list(each) for each in engine.handed]
    found = find_sweep(tmp_path)
    assert found is not None
    assert found.left() == {}


def test_progress_ends_with_all_members_done(tmp_path):
    seen = []
    train_sweep(tiny_sweep(), tmp_path, device="cpu", on_progress=seen.append)
    assert (seen[-1].done, seen[-1].members, seen[-1].steps) == (2, 2, 20)


def long_sweep() -> Sweep:
    """Three runs of a second or so each."""
    base = tiny_experiment(steps=400, evaluate={"every": 100}, checkpoints={"every": 100})
    return tiny_sweep(base=base, seeds=3)


def kill_a_worker(folder: Path) -> None:
    """Kills the first process that has written a checkpoint beyond step 0."""
    while not list(folder.glob("*/checkpoints/100.safetensors")):
        time.sleep(0.01)
    [worker, *_] = worker_processes()
    os.kill(worker, signal.SIGKILL)


def worker_processes() -> list[int]:
    """Workers: the children of the fork server, which is a child of this process."""
    return [worker for child in children(os.getpid()) for worker in children(child)]


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def test_the_members_of_a_killed_worker_run_again(tmp_path):
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path,), daemon=True)
    killer.start()
    folder = train_sweep(long_sweep(), tmp_path, device="cpu", workers=2)
    killer.join()
    assert folder.left() == {}
    path, experiment = next(iter(folder.members().items()))
    alone = train(experiment, tmp_path.with_name("alone"), device="cpu")
    assert_close(dict(Run(path).parameters(400)), dict(alone.parameters(400)))


def test_experiments_without_training_are_refused(tmp_path):
    base = tiny_experiment().model_copy(update={"training": None})
    with pytest.raises(ValueError, match=r"no \[training\] table"):
        train_sweep(Sweep(name="x", base=Experiment.model_validate(base)), tmp_path)
