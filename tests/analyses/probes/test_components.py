from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses import ContextComponent, WeightsComponent
from analyses.probes.components import asked_values, remainder
from hooks import Snapshot, build
from hooks.edit import Edit
from hooks.models import ReadInConfig
from interp.tasks import Task
from interp.tasks.factors.factor_labels import FactorLabels
from interp.tasks.functions.function_classes import FunctionClasses
from interp.tasks.functions.simple import SimpleFunction
from tests.sweeps import drawn

TASK = FactorLabels.model_validate(
    {
        "factors": {"hue": 4, "shape": 3}, "pairs": 3, "d": 8, "held_out": 0, "noise": 0.0,
        "difficulty": 0.1, "test_prompts": 600,
    }
)  # fmt: skip


def untrained(task: Task = TASK, step=0, count=None, **options):
    config = ReadInConfig.model_validate({"n_layers": 2, "d_model": 16, "n_heads": 2} | options)
    model = build(config, task.sizes, seed=0)
    return Snapshot.of(model, task.examples("test", count, 0), step=step)


def blind(snapshot):
    """The model, to which every input is the same."""
    return snapshot.edited(Edit(parameters={"embed.W_E": torch.zeros_like}))


def test_factors_of_a_readable_embedding_are_read_in_all_forms():
    found = WeightsComponent.measure(untrained())
    assert found.labels == ("hue", "shape")
    assert found.forms == ("identity", "alone", "zeroed")
    assert found.sites == ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    assert found.score.min() > 0.95
    assert found.raw.min() > 0.95


def test_a_model_that_sees_nothing_reads_nothing():
    found = WeightsComponent.measure(blind(untrained()))
    np.testing.assert_allclose(found.score, found.baseline[:, None, None].repeat(3, 1).repeat(2, 2))
    assert found.raw.min() > 0.95


@pytest.mark.parametrize("label", [0, 1])
def test_shuffled_labels_are_at_chance(label):
    found = WeightsComponent.measure(untrained())
    chance, count = 1 / found.n_classes[label], found.held_out
    spread = 3.29 * (chance * (1 - chance) / count) ** 0.5  # a 99.9 % interval of a share
    assert abs(found.shuffled[label] - chance).max() < spread


def test_means_give_each_factor_the_same_weight():
    found = WeightsComponent.measure(blind(untrained()))
    summary = found.summary()
    assert summary["identity_quarter"] == pytest.approx(found.score[:, 0, 0].mean())
    assert summary["hue"] == found.score[0, 0, 0]
    assert summary["baseline"] == pytest.approx(found.baseline.mean())


def test_a_quarter_of_twelve_blocks_is_the_third():
    found = WeightsComponent.measure(untrained())
    assert found.quoted == 0
    assert replace(found, sites=tuple(map(str, range(12)))).quoted == 2


def test_scores_stand_beside_those_of_the_first_snapshot():
    first = WeightsComponent.measure(untrained())
    np.testing.assert_array_equal(first.initial, first.score)
    later = WeightsComponent.measure(blind(untrained(step=5)), reference=first)
    np.testing.assert_array_equal(later.initial, first.score)
    np.testing.assert_array_equal(later.raw, first.raw)
    alone = WeightsComponent.measure(untrained(step=5))
    assert np.isnan(alone.initial).all()


def test_the_probe_set_is_the_same_at_every_step():
    one, two = (WeightsComponent.measure(blind(untrained(step=each))) for each in (0, 7))
    np.testing.assert_array_equal(one.score, two.score)


def test_a_reference_of_other_options_is_refused():
    first = WeightsComponent.measure(untrained(), forms=["alone"])
    with pytest.raises(ValueError, match="reference: its labels, forms, sites"):
        WeightsComponent.measure(untrained(step=5), reference=first)


def test_inputs_of_a_function_are_read_as_real_numbers():
    task = SimpleFunction(d=3, pairs=4, test_prompts=300)
    found = WeightsComponent.measure(untrained(task))
    assert (found.labels, found.n_classes) == (("x_0", "x_1", "x_2"), (0, 0, 0))
    assert found.score[:, 2].min() > 0.9  # three numbers in sixteen
    assert found.score[:, :, 0].min() > found.baseline.max() + 0.5


def test_the_asked_factor_is_read_where_context_holds_it():
    """A stream to which the asked factor was added at the query."""
    snapshot = untrained()
    asked = snapshot.examples.label("factor").double()
    found = ContextComponent.measure(snapshot)
    direction = torch.zeros(16)
    direction[0] = 30.0
    inputs = snapshot.examples.model_inputs.clone()
    inputs[:, 4] = 0
    told = snapshot.on(replace(snapshot.examples, inputs=inputs))

    def tell(stream, hook):
        """What the layer writes at the query depends on the first input alone."""
        return stream + told.examples.label("factor")[:, None, None] * direction

    assert asked.unique().tolist() == [0, 1]
    planted = told.edited(Edit(hooks={"blocks.1.hook_attn_out": tell}))
    hinted = ContextComponent.measure(planted, forms=["zeroed"])
    in_context = hinted.forms.index("in_context")
    assert hinted.score[0, in_context, 1] == 1
    assert found.score[0, in_context, 1] < 0.75


def test_the_context_component_is_what_remains():
    snapshot = untrained()
    silent = snapshot.edited(
        Edit(parameters={f"blocks.{layer}.attn.{name}": torch.zeros_like
                         for layer in (0, 1) for name in ("W_O", "b_O")})
    )  # fmt: skip
    found = ContextComponent.measure(silent, forms=["zeroed"])
    rest = found.forms.index("beyond_zeroed")
    # Attention that writes nothing leaves no remainder, and so nothing but the guess.
    np.testing.assert_allclose(found.score[0, rest], found.baseline[0])


def test_each_task_is_asked_for_apart():
    found = ContextComponent.measure(untrained())
    assert found.labels == ("factor", "is hue", "is shape")
    assert found.mean_of == 1
    assert found.summary()["in_context_middle"] == found.score[0, 0, 0]


def test_the_class_of_a_mixture_is_what_is_asked_for():
    task = FunctionClasses.model_validate(
        {"d": 3, "pairs": 6, "test_prompts": 200,
         "classes": [{"family": "dense"}, {"family": "sparse", "nnz": 1}]}
    )  # fmt: skip
    assert ContextComponent.measure(untrained(task)).labels == ("class", "is dense", "is sparse")


def test_tasks_without_factors_or_choice_are_refused():
    task = FunctionClasses(d=3, pairs=6, test_prompts=20)
    with pytest.raises(ValueError, match=r"needs a task that tells PromptFacts\.factors"):
        WeightsComponent.measure(untrained(task))
    with pytest.raises(ValueError, match=r"needs a task that tells PromptFacts\.asked"):
        ContextComponent.measure(untrained(task))


def test_prompts_that_all_ask_for_one_thing_are_refused():
    examples = TASK.examples("test", 20, 0)
    same = replace(examples, labels={"factor": torch.zeros(20, dtype=torch.long)})
    with pytest.raises(ValueError, match="'factor' is the same in all 20 prompts"):
        asked_values(same)


def test_too_few_prompts_for_the_classes_are_refused_in_one_line():
    message = r"\A[^\n]*'shape': [0-9] of its [0-9] classes have no example among the [^\n]*\Z"
    with pytest.raises(ValueError, match=message):
        WeightsComponent.measure(untrained(count=6))


@pytest.mark.parametrize("cls", [WeightsComponent, ContextComponent])
@pytest.mark.parametrize(
    ("options", "message"),
    [({"forms": ["cut"]}, "form 'cut'"), ({"method": "forest"}, "method 'forest'"),
     ({"penalties": []}, "penalties are")],
)  # fmt: skip
def test_options_that_are_wrong_are_refused(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls.measure(untrained(count=40), **options)


def test_no_forms_are_refused():
    with pytest.raises(ValueError, match="forms: name one of identity"):
        WeightsComponent.measure(untrained(count=40), forms=[])


def test_inputs_that_are_not_finite_are_refused():
    snapshot = untrained(count=40)
    inputs = snapshot.examples.model_inputs.clone()
    inputs[3] = torch.nan
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        WeightsComponent.measure(snapshot.on(replace(snapshot.examples, inputs=inputs)))


def test_curves_go_over_the_blocks():
    found = WeightsComponent.measure(untrained())
    figures = found.figures()
    assert list(figures) == ["layers", "labels"]
    first = drawn(figures["layers"])
    assert list(first["data"][0]["x"]) == [1, 2]
    assert [each["text"] for each in first["layout"]["annotations"]] == list(found.forms)
    assert first["layout"]["title"]["text"].startswith("Weights component: 1.00")


def test_what_remains_of_equal_states_but_for_rounding_is_nothing():
    whole = 100 * torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(0))
    part = whole.clone()
    part[..., 0] -= 1.0 + torch.arange(6)[:, None]
    part[..., 1] *= 1 + 1e-7
    left = remainder(whole, part)
    assert left[:, 0, 0].tolist() == pytest.approx([1, 2, 3, 4, 5, 6], abs=1e-4)
    assert not left[..., 1:].any()
