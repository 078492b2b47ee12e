import dataclasses

import numpy as np
import pytest
import torch

import interp
from analyses import ActivationPatching
from hooks import Pairs, Snapshot
from tests.modular_pairs import drawn_pairs, in_double
from tests.planted import random_model, tokens_as_examples

# Of the trained fixture, 512 pairs in float64: metric with activations inserted.
DENOISED_A = {"head": [-23.79119, -17.40326, -20.93305, -16.76516], "mlp": 35.07429}
NOISED_A = {"head": [23.50829, 17.43286, 20.92073, 16.73088], "mlp": -35.31185}
TO_LOGITS_A = [-37.61302, -37.76342, -37.3969, -37.62686]  # denoised on the direct path alone
VIA_MLP_A = [-24.54095, -18.00262, -21.89894, -17.50109]


@pytest.fixture(scope="module")
def run():
    return interp.load("fixtures/modular-addition")


def of_change_a(run, receiver):
    roles = {name: torch.full((512,), place) for place, name in enumerate(["a", "b", "="])}
    pairs = dataclasses.replace(drawn_pairs(run, 512, "a"), roles=roles)
    return ActivationPatching.measure(in_double(run, 975), pairs=pairs, receiver=receiver)


@pytest.fixture(scope="module")
def changed_a(run):
    return of_change_a(run, "logits")


def test_the_fixture_has_the_figures_of_the_specification(changed_a):
    clean, corrupted = changed_a.clean[0], changed_a.corrupted[0]
    assert (clean, corrupted) == pytest.approx((38.12523, -38.36278), abs=1e-3)
    heads, places = changed_a.grid("head")
    assert places == ("0", "1", "2", "3")
    assert heads[0] + corrupted == pytest.approx(DENOISED_A["head"], abs=1e-3)
    assert changed_a.grid("head", "noising")[0][0] + clean == pytest.approx(
        NOISED_A["head"], abs=1e-3
    )
    for wanted, run, start in ((DENOISED_A, "denoising", corrupted), (NOISED_A, "noising", clean)):
        assert changed_a.grid("mlp", run)[0].item() + start == pytest.approx(
            wanted["mlp"], abs=1e-3
        )
        whole = changed_a.grid("attention", run)[0].item()
        assert abs(whole) == pytest.approx(clean - corrupted, abs=1e-9)


def test_the_stream_before_the_first_layer_is_the_input(changed_a):
    span = changed_a.spans[0]
    denoised, roles = changed_a.grid("residual")
    assert roles == ("a", "b", "=")
    # a is all that differs; after the layer, the last position is read.
    assert denoised == pytest.approx(np.array([[span, 0, 0], [0, 0, span]]), abs=1e-12)
    noised, _ = changed_a.grid("residual", "noising")
    assert noised == pytest.approx(-denoised, abs=1e-12)
    assert denoised[0, 1:].tolist() == [0, 0]


def test_paths_reach_one_receiver_alone(run, changed_a):
    for result, wanted in ((changed_a, TO_LOGITS_A), (of_change_a(run, "0.mlp"), VIA_MLP_A)):
        paths = [place for place, patch in enumerate(result.patches) if patch[0] == "path"]
        names = [result.patches[place][2] for place in paths]
        heads = [paths[names.index(f"0.h{head}")] for head in range(4)]
        denoised = result.effects[heads, 0, 0] + result.corrupted[0]
        assert denoised == pytest.approx(wanted, abs=1e-3)
        assert result.effects[paths[names.index("embed")], :2, 0].tolist() == [0, 0]
    assert "into logits alone" in str(changed_a.plot("paths"))


def test_recovered_is_of_the_span_in_both_directions(changed_a):
    heads = [place for place, patch in enumerate(changed_a.patches) if patch[0] == "head"]
    denoised, noised = changed_a.recovered[heads, 0, 0], changed_a.recovered[heads, 1, 0]
    assert denoised.sum() == pytest.approx(0.9748, abs=1e-4)
    assert denoised == pytest.approx(1 - noised, abs=0.01)  # heads hardly interact
    untouched = changed_a.recovered[1, :2, 0]  # position b of the input
    assert untouched.tolist() == [0, 1]


def planted(model=None, groups=True, **options):
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(7, (2, 40, 3), generator=generator)
    corrupted[:, -1] = clean[:, -1]
    same = (clean.sum(1) - corrupted.sum(1)) % 7 == 0
    corrupted[same, 1] = (corrupted[same, 1] + 1) % 7
    examples = tokens_as_examples(clean)
    if groups:
        examples = dataclasses.replace(examples, labels={"half": torch.arange(40) // 20})
    pairs = Pairs.of(examples, tokens_as_examples(corrupted))
    model = model or random_model(n_layers=2, n_heads=2, normalization_type=None)
    return ActivationPatching.measure(Snapshot.of(model, pairs.clean), pairs=pairs, **options)


def test_a_label_parts_the_pairs():
    result = planted(by="half")
    assert result.groups == ("all", "half 0", "half 1")
    assert result.group_sizes.tolist() == [40, 20, 20]
    assert result.effects[..., 0] == pytest.approx(result.effects[..., 1:].mean(-1), nan_ok=True)
    assert np.abs(result.effects[:, 0, 1] - result.effects[:, 0, 2]).max() > 1e-3
    assert result.grid("residual", "noising", "half 1")[0].shape == (3, 3)


def test_neurons_of_a_linear_layer_sum_to_their_mlp():
    model = random_model(n_layers=1, normalization_type=None)
    result = planted(model, neurons=True)
    neurons, _ = result.grid("neuron")
    mlp, _ = result.grid("mlp")
    assert np.abs(mlp).min() > 1e-3
    assert neurons.sum(1) == pytest.approx(mlp[:, 0], rel=1e-4)  # the last layer is linear


def test_positions_without_names_go_by_number():
    result = planted(groups=False)
    assert result.grid("residual")[1] == ("0", "1", "2")
    assert np.isnan(result.effects[:, 2]).all()
    assert "control" not in str(result.plot("parts"))


def test_a_model_without_mlps_has_heads_alone():
    result = planted(random_model(n_layers=2, n_heads=2, attn_only=True))
    assert {patch[0] for patch in result.patches} == {"residual", "head", "attention"}


def test_the_divergence_is_from_the_clean_run():
    result = planted(metric="kl")
    assert result.clean[0] == pytest.approx(0, abs=1e-9)
    assert result.corrupted[0] < -1e-3
    denoised, _ = result.grid("residual")
    assert denoised[-1, -1] == pytest.approx(-result.corrupted[0], rel=1e-6)


def test_control_pairs_stand_in_the_group_of_all(run):
    pairs, control = run.input_pairs("all", 32), run.input_pairs("all", 32, "swap")
    result = ActivationPatching.measure(
        run.snapshot(count=1), pairs=pairs, control=control, by="train"
    )
    heads = [place for place, patch in enumerate(result.patches) if patch[0] in ("head", "mlp")]
    assert np.abs(result.effects[heads, 2, 0]).max() < 0.1
    assert np.isnan(result.effects[:, 2, 1:]).all()
    assert "control: =" in str(result.plot("residual"))
    assert float(result.summary()["largest_control"]) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "halves"}, "labels has no 'halves'; this task provides: half; did you mean"),
        ({"receiver": "2.mlp"}, "receiver '2.mlp' reads nothing; there are 0.h0.q"),
        ({"receiver": "0.mlp", "metric": "kl"}, "receiver: metric kl is told by the clean input"),
        ({"metric": "squared_error"}, "answers here are classes"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        planted(**options)


def test_an_unknown_place_is_refused():
    with pytest.raises(ValueError, match="kind 'neuron' is none of residual, head"):
        planted().grid("neuron")
    with pytest.raises(ValueError, match="run 'noise' is none of denoising"):
        planted().grid("head", "noise")
