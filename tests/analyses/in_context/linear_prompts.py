"""Prompts of linear functions, and the error of what is predicted of them."""

import math

import numpy as np
import torch


def linear_prompts(count, pairs, d, *, nnz=None, noise=0.0, seed=0):
    """Inputs, values and coefficients of linear functions with values of variance 1."""
    drawing = np.random.default_rng(seed)
    x, w = drawing.normal(size=(count, pairs, d)), drawing.normal(size=(count, d))
    if nnz is not None:
        w *= drawing.random((count, d)).argsort(axis=1) < nnz
    w /= math.sqrt(nnz or d)
    y = np.einsum("nkd,nd->nk", x, w) + noise * drawing.normal(size=(count, pairs))
    return torch.tensor(x), torch.tensor(y), torch.tensor(w)


def errors(predicted, y):
    return (predicted - y).square().mean(0)
