"""Runs on disk: a folder with an experiment, metrics, checkpoints and saved results."""
