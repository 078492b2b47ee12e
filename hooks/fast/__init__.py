"""Forward passes of training, without hook points: equal to the model in loss and gradients."""

from hooks.fast.single import training_logits

__all__ = ["training_logits"]
