"""Small tasks of factor labels, what noiseless prompts of them show, and a file of images."""

import numpy as np
import torch

from interp.tasks.factors.factor_labels import FactorLabels
from interp.tasks.factors.images import random_network, unravelled

SMALL = {"factors": {"hue": 4, "shape": 3, "size": 2}, "pairs": 4, "d": 8, "test_prompts": 300}


def task_of(**options):
    return FactorLabels.model_validate(SMALL | options)


def shown(task, batch):
    """Values of the factors of the images in noiseless prompts, by their vectors."""
    every = unravelled(torch.arange(24), task.values)
    network = random_network(task.values, task.d, task.difficulty, task.seed)
    distances = torch.cdist(batch["inputs"][:, ::2], network.embed(every)[None])
    assert distances.amin(2).max() < 1e-2  # each is one of them
    return every[distances.argmin(2)]


def saved(tmp_path, **arrays):
    path = tmp_path / "images.npz"
    every = np.stack([np.arange(60) % 3, np.arange(60) // 3 % 2], axis=1)
    drawn = np.random.default_rng(0).normal(size=(60, 5))
    np.savez(path, **{"embeddings": drawn, "factors": every} | arrays)
    return str(path)
