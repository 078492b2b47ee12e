"""A tiny GPT-NeoX with three revisions, made and saved here; nothing is fetched."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import interp
from analyses import ContextComponent, InContextCurve, LearningPlateau
from analyses.in_context.prompts import late_score
from interp.importers.language_series import language_series, spelling_of
from interp.tasks.word_selection import ALL_WORDS, WordSelection

REVISIONS = ["step0", "step1000", "step3000"]
TASK = WordSelection(pairs=3, test_prompts=60)


def tokenizer_of(words):
    """A tokenizer with one token a word, a newline, and one for whatever it does not know."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {word: index for index, word in enumerate(["<unk>", "->", "\n", *words])}
    own = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Split(" ", "removed")  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>")


def tiny(seed, **options):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    table: dict[str, Any] = {
        "vocab_size": 48, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 64,
    }  # fmt: skip
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**table | options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("neox")
    for seed, revision in enumerate(REVISIONS):
        tiny(seed).save_pretrained(path / revision)
        tokenizer_of(ALL_WORDS).save_pretrained(path / revision)
    return path


@pytest.fixture(scope="module")
def series(folder):
    return language_series(folder, REVISIONS, task=TASK)


@pytest.mark.parametrize("step", [0, 1000, 3000])
def test_every_revision_has_the_logits_of_its_own_model(series, step):
    examples = series.examples(count=5)
    with torch.no_grad():
        expected = tiny(REVISIONS.index(f"step{step}"))(examples.tokens).logits
    torch.testing.assert_close(
        series.snapshot(step, examples).logits(), expected, atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    "options",
    [{"use_parallel_residual": False}, {"hidden_act": "relu"}, {"rotary_pct": 1.0}],
    ids=str,
)
def test_other_shapes_have_them_too(options, tmp_path):
    model = tiny(5, **options)
    model.save_pretrained(tmp_path / "step7")
    tokenizer_of(ALL_WORDS).save_pretrained(tmp_path / "step7")
    own = language_series(tmp_path, ["step7"], task=TASK)
    examples = own.examples(count=5)
    with torch.no_grad():
        expected = model(examples.tokens).logits
    torch.testing.assert_close(own.snapshot(7, examples).logits(), expected, atol=2e-5, rtol=1e-4)


def test_steps_are_the_numbers_of_the_revisions_in_order(folder):
    assert language_series(folder, REVISIONS[::-1], task=TASK).steps == (0, 1000, 3000)


def test_prompts_are_those_of_the_task_in_the_models_own_tokens(series):
    found, plain = series.examples(), TASK.examples("test", None, 0)
    assert found.words is not None
    assert plain.words is not None
    told = [word.replace(";", "⏎") for word in plain.words[0]]
    assert list(found.words[0]) == told
    assert torch.equal(found.label("rule"), plain.label("rule"))


def test_a_curve_is_measured_at_a_step(series):
    result = InContextCurve.measure(series.snapshot(1000, series.examples()))
    assert result.curves == ("model", "most_frequent")
    assert result.errors.shape[2] == 3
    assert np.isfinite(result.errors).all()


def test_the_plateau_is_measured_from_the_snapshots(series):
    found = LearningPlateau.measure(series)
    assert found.steps.tolist() == [0, 1000, 3000]
    assert (found.metric, found.chance) == ("late_accuracy", pytest.approx(13 / 44))
    expected = [late_score(each) for each in series.snapshots()]
    np.testing.assert_allclose(found.score, expected)
    assert found.is_censored  # these models were never trained


def test_the_rule_is_probed_for(series):
    task = WordSelection(pairs=3, rules=("length",), test_prompts=120)
    snapshot = series.snapshot(0, task.examples_in(_spelling(), "test", None, 0))
    assert ContextComponent.measure(snapshot).labels == (
        "rule", "is length shortest", "is length longest",
    )  # fmt: skip


def _spelling():
    return spelling_of(tokenizer_of(ALL_WORDS))


def test_it_is_one_of_the_packages_functions():
    assert interp.language_series is language_series


@pytest.mark.parametrize(
    ("revisions", "message"),
    [
        (["main"], r"revisions \['main'\]: list names that say their step"),
        ([], r"revisions \[\]: list names that say their step"),
        ("step0", "revisions 'step0': list names that say their step"),
        (["step1", "step01"], "each step once"),
    ],
)
def test_revisions_that_name_no_steps_are_refused(folder, revisions, message):
    with pytest.raises(ValueError, match=message):
        language_series(folder, revisions)


def test_a_folder_that_lacks_a_revision_is_refused(folder):
    with pytest.raises(FileNotFoundError, match=r"step5 holds no model: it has no config\.json"):
        language_series(folder, ["step0", "step5"])


def test_a_model_of_another_kind_is_refused(tmp_path):
    from transformers import BertConfig

    BertConfig(num_hidden_layers=1).save_pretrained(tmp_path / "step0")
    tokenizer_of(ALL_WORDS).save_pretrained(tmp_path / "step0")
    (tmp_path / "step0" / "model.safetensors").touch()
    with pytest.raises(
        ValueError, match=r"step0: a model of type bert; read are gpt2, llama, gpt_neox"
    ):
        language_series(tmp_path, ["step0"])


def test_words_without_a_token_of_their_own_are_refused():
    with pytest.raises(ValueError, match=r"words of one token each.* for: window, carpet\Z"):
        spelling_of(tokenizer_of(ALL_WORDS[:-2]))


def test_more_pairs_than_the_model_reads_are_refused(folder):
    with pytest.raises(ValueError, match="pairs 20 take 138 tokens, the model reads 64"):
        language_series(folder, ["step0"], task=WordSelection(pairs=20))


def test_a_path_without_a_folder_is_refused(folder):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder, and no name such as"):
        language_series(folder / "nowhere", ["step0"])


def test_a_name_that_cannot_be_read_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"no-such-model \(step0\) cannot be read: ") as raised:
        language_series("no-such-model", ["step0"])
    assert "\n" not in str(raised.value)


@pytest.fixture
def spoilt(folder, tmp_path):
    """A copy of the first revision whose config.json says something else."""

    def spoilt(**settings: Any) -> Path:
        place = shutil.copytree(folder / "step0", tmp_path / "step0", dirs_exist_ok=True)
        file = place / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))
        return tmp_path

    return spoilt


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_attention_heads": 0}, "cannot be read: "),
        ({"num_attention_heads": None}, "cannot be read: .*num_attention_heads"),
        ({"num_attention_heads": 3}, "cannot be read: .*not divisible by the number of attention"),
        ({"hidden_act": "tanh"}, "step0: hidden_act is 'tanh' in config.json; there are gelu"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}, "cannot be read: "),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_read_is_one_line(spoilt, monkeypatch, settings, message):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the user was asked"))
    with pytest.raises(ValueError, match=message) as raised:
        language_series(spoilt(**settings), ["step0"])
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_code_beside_a_model_is_not_run(spoilt):
    place = spoilt(auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"})
    (place / "step0" / "own.py").write_text("raise SystemExit('run')")
    assert language_series(place, ["step0"], task=TASK).parameters(0)


def test_a_folder_without_weights_is_refused(spoilt):
    place = spoilt()
    (place / "step0" / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"neither model\.safetensors nor pytorch_model\.bin"
    ):
        language_series(place, ["step0"])


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ("embed_out.weight", "(embed_out|lm_head).weight"),  # by version of transformers
        ("gpt_neox.layers.1.mlp.dense_h_to_4h.bias", "gpt_neox.layers.1.mlp"),
    ],
)
def test_weights_that_a_revision_lacks_are_not_drawn_at_random(spoilt, lacking, named):
    file = spoilt() / "step0" / "model.safetensors"
    weights = load_file(file)
    del weights[lacking]
    save_file(weights, file, metadata={"format": "pt"})
    series = language_series(file.parents[1], ["step0"], task=TASK)
    with pytest.raises(ValueError, match=f"step0: lacks {named}"):
        series.parameters(0)


@pytest.mark.parametrize("options", [{"num_attention_heads": 1}, {"hidden_act": "relu"}], ids=str)
def test_a_revision_of_another_shape_is_refused(spoilt, options):
    place = spoilt()
    tiny(1, **options).save_pretrained(place / "step1")
    series = language_series(place, ["step0", "step1"], task=TASK)
    with pytest.raises(ValueError, match=r"step1 is of another shape than .*step0"):
        series.parameters(1)


def test_damaged_weights_are_one_line(spoilt):
    place = spoilt()
    (place / "step0" / "model.safetensors").write_bytes(b"damaged")
    series = language_series(place, ["step0"], task=TASK)
    with pytest.raises(ValueError, match=r"\A[^\n]*step0/model.safetensors is not [^\n]*\Z"):
        series.parameters(0)
