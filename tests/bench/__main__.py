"""Prints the table of docs/benchmarks.md."""

import platform
from pathlib import Path

import torch

from interp.training.device import prepare_process
from tests.bench import (
    checkpoint_series,
    cky,
    command_line,
    edge_scores,
    forward_cache,
    fourier_powers,
    head_ablation,
    learning_coefficient,
    logistic_probes,
    mlp_stack,
    post_norm_step,
    prompt_step,
    report_again,
    ridge_probes,
    streaming,
    training_step,
    tree_projection,
)


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    prepare_process()  # as the command line does
    print(f"{processor()}, torch {torch.__version__}, one thread, processor time\n")
    print("| benchmark | plain, ms | ours, ms | ratio | goal |")
    print("| --- | --- | --- | --- | --- |")
    benchmarks = (
        training_step.compare,
        prompt_step.compare,
        post_norm_step.compare,
        forward_cache.compare,
        edge_scores.compare,
        mlp_stack.compare,
        mlp_stack.compare_own_data,
        fourier_powers.compare,
        fourier_powers.compare_with_products,
        streaming.compare,
        head_ablation.compare,
        ridge_probes.compare,
        logistic_probes.compare,
        tree_projection.compare,
        cky.compare,
        learning_coefficient.compare,
        checkpoint_series.compare,
        report_again.compare,
        command_line.compare,
        command_line.compare_analyze,
        command_line.compare_show,
        command_line.compare_loading,
    )
    for compare in benchmarks:
        found = compare()
        plain, ours = 1000 * found.plain, 1000 * found.ours
        figures = f"{plain:.1f} | {ours:.1f} | {found.ratio:.1f} | {found.goal or 'none'}"
        print(f"| {found.name} | {figures} |", flush=True)
