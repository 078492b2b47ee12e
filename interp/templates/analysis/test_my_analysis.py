"""Tests of my_analysis.py: run `python -m pytest test_my_analysis.py`."""

import numpy as np
import pytest
import torch
from hooks import Snapshot, build
from hooks.models import TokenConfig
from interp.tasks.modular_arithmetic import ModularArithmetic

from my_analysis import MyAnalysis, margins


def test_a_margin_is_the_right_logit_minus_the_best_wrong_one():
    logits = torch.tensor([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0]])
    assert margins(logits, torch.tensor([1, 2])).tolist() == [3.0, -3.0]


def test_a_model_that_always_answers_0_leads_only_where_0_is_right():
    task = ModularArithmetic(p=5)
    model = build(TokenConfig(d_model=8, n_heads=1), task.sizes, seed=0)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for values in parameters.values():
            values.zero_()
        parameters["unembed.b_U"][0] = 2.0  # the logit of 0 everywhere; all others are 0
    snapshot = Snapshot.of(model, task.examples("all", None, 0))
    result = MyAnalysis.measure(snapshot)
    assert sorted(set(result.margin.tolist())) == [-2.0, 2.0]
    assert result.summary() == {"mean_margin": pytest.approx(-2 + 4 / 5), "least_margin": -2.0}


def test_it_draws_what_it_measured():
    figures = MyAnalysis(margin=np.array([-1.0, 2.0])).figures()
    assert [*figures] == ["margin"]
