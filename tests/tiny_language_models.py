"""Tiny GPT-2, Llama and GPT-NeoX of Hugging Face's transformers, with random weights."""

from typing import Any

import torch

N_VOCABULARY, N_POSITIONS = 11, 12


def tiny_language_model(kind: str, seed: int = 0, **options: Any) -> Any:
    """A model of two layers; all of its parameters are random, biases and norms too."""
    import transformers

    shared = {"vocab_size": N_VOCABULARY}
    theirs = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16}
    theirs |= {"intermediate_size": 24, "max_position_embeddings": N_POSITIONS}
    configs: dict[str, Any] = {
        "gpt2": (
            transformers.GPT2Config,
            {"n_layer": 2, "n_head": 4, "n_embd": 16, "n_positions": N_POSITIONS},
        ),
        "llama": (transformers.LlamaConfig, theirs),
        "gpt_neox": (transformers.GPTNeoXConfig, theirs | {"num_attention_heads": 2}),
    }
    cls, table = configs[kind]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(cls(**shared | table | options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return model.eval()
