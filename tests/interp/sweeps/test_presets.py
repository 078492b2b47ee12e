"""Sweeps that come with the package: they load, and hold the runs that they say."""

import pytest

from interp.presets import preset_names, preset_summary
from interp.sweeps.sweep import load_sweep

MEMBERS = {
    "addition-decay": 7 * 8,
    "addition-dropout": 4 * 2 * 8,
    "addition-loss-dtype": 2 * 2 * 8,
    "addition-no-decay": 8,
    "addition-there-and-back": 8,
    "addition-variants": 16 * 5 * 9,
    "addition-variants-l1": 16 * 5 * 9,
    "addition-variants-mini": 8 * 2 * 3,
    "addition-width": 8 * 8,
    "modular-addition-decay": 5 * 5,
    "parity-decay": 1125,
    "parity-decay-longer": 3,
    "parity-decay-mini": 135,
    "parity-l1": 4 * 16,
}
PENALTIES = [("addition-variants", False), ("addition-variants-l1", True)]
VARIANT = ("tied", "shared_in", "collapsed_in", "collapsed_out")


@pytest.mark.parametrize("name", MEMBERS)
def test_a_sweep_has_as_many_runs_as_it_says(name):
    assert len(load_sweep(name).experiments()) == MEMBERS[name]


def test_the_articles_networks_have_five_decays_widths_and_sizes_of_data():
    experiments = load_sweep("parity-decay").experiments().values()
    cells = {
        (
            e.fields["training.weight_decay"],
            e.fields["model.d_mlp"],
            e.fields["task.train_sequences"],
        )
        for e in experiments
    }
    assert len(cells) == 125
    assert {width for _, width, _ in cells} == {16, 32, 64, 128, 258}


def test_losses_of_the_articles_networks_are_float32_and_clipped():
    experiments = load_sweep("parity-decay-mini").experiments().values()
    assert {(e.fields["training.loss_dtype"], e.fields["task.clip"]) for e in experiments} == {
        ("float32", 1e-7)
    }


@pytest.mark.parametrize("name", ["addition-variants", "addition-variants-l1"])
def test_architectures_are_all_sixteen(name):
    experiments = load_sweep(name).experiments().values()
    assert (
        len({tuple(e.fields[f"model.{option}"] for option in VARIANT) for e in experiments}) == 16
    )


@pytest.mark.parametrize(("name", "has_l1"), PENALTIES)
def test_variants_have_one_penalty(name, has_l1):
    experiments = [each.fields for each in load_sweep(name).experiments().values()]
    found = {(e["training.weight_decay"] > 0, e["training.l1"] > 0) for e in experiments}
    assert found == {(not has_l1, has_l1)}


@pytest.mark.parametrize("name", preset_names("sweeps"))
def test_a_sweep_says_in_its_first_line_what_it_is(name):
    assert len(preset_summary(name, "sweeps").split()) > 5
