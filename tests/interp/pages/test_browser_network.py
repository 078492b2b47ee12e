"""The constructed network that a reader tries, in a real browser with the network taken away."""

import numpy as np
import pytest

import interp
from analyses.neurons.adding_network import adding_network
from analyses.plots.views import Page
from hooks import Snapshot, build
from hooks.models import ConstructedConfig
from hooks.models.constructed import leads
from interp.config.experiment import load_experiment
from interp.pages import write_report
from interp.tasks.modular_arithmetic import ModularArithmetic
from tests.interp.pages.browser import DRAWN, Tab, empty, outside, unfold

NODE = "document.querySelector('.adding-network')"
SAID = f"{NODE}.querySelector('p').textContent"
P = 67


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The page of the five neurons, in a folder."""
    place = tmp_path_factory.mktemp("network")
    run = interp.construct(load_experiment("constructed-circle"), place / "circle")
    interp.analyze(run, ["NeuronCircle"])
    index = write_report([run], place / "report")
    tab = Tab(browser, 1280, 900)
    tab.open(index.parent / "runs" / "circle.html", DRAWN)
    unfold(tab)
    yield tab
    tab.close()


def choose(tab, name, value):
    """Moves one of the sliders as a reader would."""
    tab.run(f"""(() => {{
        const input = {NODE}.querySelector('input[name="{name}"]');
        input.value = {value};
        input.dispatchEvent(new Event("input", {{ bubbles: true }}));
    }})()""")


def bars(tab, place):
    """The numbers that a chart's bars tell."""
    told = "[...svg.querySelectorAll('title')].map(each => Number(each.textContent.split(': ')[1]))"
    return tab.run(f"(svg => {told})({NODE}.querySelectorAll('svg')[{place}])")


def computed(a, b, **options):
    """Activations and logits of the same network by torch."""
    task = ModularArithmetic(p=P, equals=False)
    model = build(ConstructedConfig(**options), task.sizes, seed=0, dtype="float64")
    snapshot = Snapshot.of(model, task.examples("all", None, 0))
    neurons = snapshot.cache(["blocks.0.mlp.hook_post"])["blocks.0.mlp.hook_post"]
    lead = leads(snapshot.logits(), snapshot.examples.targets)
    share = float((lead >= 1e-9).double().mean())
    return neurons[a * P + b, 0], snapshot.logits()[a * P + b, 0], share


def test_a_reader_sees_the_networks_own_activations_and_logits(page):
    neurons, logits, _ = computed(13, 19)
    np.testing.assert_allclose(bars(page, 0), neurons, atol=6e-4)
    np.testing.assert_allclose(bars(page, 1), logits, atol=6e-4)
    assert page.run(SAID).startswith("13 + 19 = 32 mod 67: 32 leads")


def test_other_operands_change_both(page):
    choose(page, "a", 60)
    choose(page, "b", 41)
    neurons, logits, _ = computed(60, 41)
    np.testing.assert_allclose(bars(page, 0), neurons, atol=6e-4)
    np.testing.assert_allclose(bars(page, 1), logits, atol=6e-4)
    assert page.run(SAID).startswith("60 + 41 = 34 mod 67: 34 leads")


@pytest.mark.parametrize("d_mlp", [4, 5, 6, 7])
def test_another_number_of_neurons_gets_as_many_pairs_right_as_the_network_has(page, d_mlp):
    for name, value in {"a": 60, "b": 41, "neurons": d_mlp}.items():
        choose(page, name, value)
    neurons, _, share = computed(60, 41, d_mlp=d_mlp)
    np.testing.assert_allclose(bars(page, 0), neurons, atol=6e-4)
    assert f"Of all pairs {100 * share:.2f} % are right." in page.run(SAID)


def test_the_right_answer_is_marked(page):
    choose(page, "a", 1)
    choose(page, "b", 2)
    marked = f"[...{NODE}.querySelectorAll('svg')[1].children].map(each => each.classList[0])"
    assert page.run(marked).index("marked") == 3


def test_the_network_has_pixels_and_no_errors(page):
    assert empty(page, ".drawing") == []
    assert page.errors() == []
    assert outside(page) == []


@pytest.mark.parametrize("act_fn", ["relu", "square", "abs", "gelu"])
def test_every_nonlinearity_is_that_of_the_model(browser, tmp_path, act_fn):
    facts = {"p": P, "d_mlp": 5, "act_fn": act_fn, "frequency": 3}
    tab = Tab(browser, 800, 600)
    tab.open(
        Page((adding_network(facts),)).save(tmp_path / "page.html"),
        f"{NODE}?.querySelector('rect')",
    )
    neurons, logits, _ = computed(13, 19, act_fn=act_fn, frequency=3)
    np.testing.assert_allclose(bars(tab, 0), neurons, atol=6e-4)
    np.testing.assert_allclose(bars(tab, 1), logits, atol=6e-4)
    assert tab.errors() == []
    tab.close()
