"""What a sweep is: its runs, their folders, its file, and the faults that one can have."""

from dataclasses import dataclass

import pytest

from interp.sweeps.sweep import load_sweep
from tests.interp.sweeps.short_sweeps import VARY, short_sweep
from tests.planted import tiny_experiment


def test_a_grid_has_every_combination_with_every_seed():
    assert len(short_sweep(vary=VARY).experiments()) == 2 * 2 * 2


def test_zip_takes_the_lists_side_by_side():
    experiments = short_sweep(vary=VARY, mode="zip").experiments().values()
    fields = ("training.lr", "training.weight_decay")
    pairs = {tuple(each.fields[name] for name in fields) for each in experiments}
    assert pairs == {(1e-3, 0.1), (1e-2, 1.0)}


def test_a_list_of_one_value_is_for_all_that_zip_pairs():
    vary = VARY | {"training.optimizer": ["adam"]}
    experiments = short_sweep(vary=vary, mode="zip").experiments().values()
    assert {each.fields["training.optimizer"] for each in experiments} == {"adam"}
    assert len(experiments) == len(short_sweep(vary=VARY, mode="zip").experiments())


def test_without_lists_a_sweep_is_its_seeds():
    seeds = [each.seeds.model for each in short_sweep(seeds=[3, 5]).experiments().values()]
    assert seeds == [3, 5]


def test_folders_are_named_by_what_is_their_own():
    first = next(iter(short_sweep(vary=VARY).experiments()))
    assert first.startswith("lr-0.001_weight_decay-0.1_s0-")


@pytest.mark.parametrize(
    ("field", "value", "slug"),
    [("lr", 1e20, "lr-1e20"), ("lr", 1e-20, "lr-1e-20"), ("betas", [0.9, 0.98], "betas-0.9-0.98")],
)
def test_a_folder_tells_a_value_by_its_digits(field, value, slug):
    base = [0.8, 0.9] if field == "betas" else 1.0
    *_, last = short_sweep(vary={f"training.{field}": [base, value]}, seeds=1).experiments()
    assert last.startswith(f"{slug}_s0-")


def test_a_list_of_one_value_is_set_and_no_axis():
    sweep = short_sweep(vary={"training.lr": [0.5]})
    lrs = {each.fields["training.lr"] for each in sweep.experiments().values()}
    assert (sweep.axes, lrs) == ((), {0.5})


def test_whole_tables_can_vary():
    tasks = [{"name": "modular_arithmetic", "p": p, "train_fraction": 0.5} for p in (5, 7)]
    experiments = short_sweep(vary={"task": tasks}).experiments().values()
    assert {each.task.model_dump()["p"] for each in experiments} == {5, 7}


def test_a_sweep_survives_its_file(tmp_path):
    sweep = short_sweep(vary=VARY)
    (tmp_path / "tiny.toml").write_text(sweep.to_toml())
    assert load_sweep(tmp_path / "tiny.toml").experiments() == sweep.experiments()


def test_a_base_may_be_a_file_beside_it(tmp_path):
    (tmp_path / "base.toml").write_text(tiny_experiment().to_toml())
    (tmp_path / "sweep.toml").write_text('base = "base.toml"\nseeds = 3\n')
    assert load_sweep(tmp_path / "sweep.toml").base == tiny_experiment()


def test_a_base_may_be_a_preset(tmp_path):
    (tmp_path / "sweep.toml").write_text('base = "modular-addition"')
    assert load_sweep(tmp_path / "sweep.toml").base.task.model_dump()["p"] == 53


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
    "twice the same": Fault(BASE + "seeds = [1, 1]", r"two runs are the same: s1"),
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
