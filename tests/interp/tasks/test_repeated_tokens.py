import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from hooks import Snapshot, build
from interp.config.experiment import load_experiment
from interp.config.training import Steps
from interp.randomness import generator
from interp.tasks.repeated_tokens import RepeatedTokens
from interp.training.loop import train
from tests.planted import induction_model, tiny_config, tiny_repeats, unambiguous

TASK = RepeatedTokens(test_sequences=3000)
EXAMPLES = TASK.examples("test", None, 0)
ROWS = range(0, 3000, 60)


def row(name, index):
    return int(EXAMPLES.label(name)[index])


@pytest.mark.parametrize("index", ROWS)
def test_a_block_comes_again_where_the_labels_say(index):
    tokens = EXAMPLES.model_inputs[index].tolist()
    start, copy, block = (row(name, index) for name in ("start", "copy", "block"))
    assert tokens[start : start + block] == tokens[copy : copy + block]
    assert copy - start == row("lag", index)
    assert start >= 0
    assert start + block <= copy <= len(tokens) - block


@pytest.mark.parametrize("index", ROWS)
def test_the_copy_is_scored_from_its_first_token_to_the_last_but_one(index):
    tokens, targets = (each[index].tolist() for each in (EXAMPLES.model_inputs, EXAMPLES.targets))
    copy, block = row("copy", index), row("block", index)
    scored = EXAMPLES.scored[index].nonzero()[:, 0].tolist()
    assert scored == list(range(copy, copy + block - 1))
    assert [targets[q] for q in scored] == [tokens[q + 1] for q in scored]


def test_every_length_of_block_occurs_and_lags_spread_from_two_on():
    assert EXAMPLES.label("block").unique().tolist() == list(range(2, 11))
    lags = EXAMPLES.label("lag").unique().tolist()
    assert lags[:25] == list(range(2, 27))
    assert lags[-1] <= 30


def test_blocks_of_every_length_are_equally_likely():
    shares = EXAMPLES.label("block").bincount()[2:] / len(EXAMPLES)
    assert shares.tolist() == pytest.approx([1 / 9] * 9, abs=0.025)  # 4.4 deviations


def test_the_shortest_block_starts_anywhere_with_equal_chances():
    starts = EXAMPLES.label("start")[EXAMPLES.label("block") == 2]
    assert starts.unique().tolist() == list(range(29))
    assert starts.double().mean() == pytest.approx(14, abs=1.9)  # 4 deviations


def test_copies_stand_from_directly_behind_the_block_to_the_end():
    block, lag, copy = (EXAMPLES.label(name) for name in ("block", "lag", "copy"))
    assert (lag == block).any()
    assert (copy + block).max() == 32


def test_tokens_outside_the_copy_are_uniform():
    before = EXAMPLES.model_inputs[:, :2].flatten().bincount(minlength=64) / 6000
    assert len(before) == 64
    assert before.max() < 2 / 64  # 9 deviations
    assert before.min() > 0.4 / 64


def test_chance_is_one_in_as_many_as_there_are_tokens():
    assert RepeatedTokens(d_vocab=50).facts.chance == 1 / 50


def test_a_count_draws_some_of_the_same_sequences():
    some = TASK.examples("test", 10, 0)
    everything = {tuple(tokens) for tokens in EXAMPLES.model_inputs.tolist()}
    assert len(some) == 10
    assert {tuple(tokens) for tokens in some.model_inputs.tolist()} <= everything


def test_the_first_loss_is_of_the_tokens_before_the_copy():
    logits = torch.zeros(len(EXAMPLES), 32, 64, dtype=torch.float64)
    ahead = EXAMPLES.model_inputs.roll(-1, dims=1)  # the next token
    is_first = torch.arange(1, 33) < EXAMPLES.label("copy")[:, None]
    known = torch.nn.functional.one_hot(ahead, 64) * is_first[..., None] * 1000.0
    batch = {
        "tokens": EXAMPLES.model_inputs,
        "targets": EXAMPLES.targets,
        "scored": EXAMPLES.scored,
    }
    grades = TASK.grade(logits + known, batch)
    assert grades["first_loss"] == 0
    assert grades["loss"] == pytest.approx(math.log(64))
    assert TASK.grade(logits, batch)["first_loss"] == pytest.approx(math.log(64))
    others = known * 0 + torch.nn.functional.one_hot(ahead, 64) * ~is_first[..., None] * 1000.0
    assert TASK.grade(logits + others, batch)["first_loss"] == pytest.approx(math.log(64))


def test_a_model_that_continues_what_is_repeated_scores_all():
    task = RepeatedTokens(d_vocab=64, length=16, max_block=6)
    examples = task.examples("test", None, 0)
    examples = examples.at(unambiguous(examples))
    scores = task.score(Snapshot.of(induction_model(), examples))
    assert scores["accuracy"] == 1
    assert scores["loss"] < 0.01
    assert scores["first_loss"] > math.log(64)


@pytest.mark.parametrize("change", RepeatedTokens.changes)
def test_pairs_are_asked_for_one_token_of_the_copy(change):
    pairs = TASK.input_pairs("test", 300, 0, change)
    rows = torch.arange(len(pairs))
    query, source = pairs.roles["query"], pairs.roles["source"]
    tokens = pairs.clean.model_inputs
    right, wrong = pairs.classes
    assert torch.equal(query, pairs.position)
    assert torch.equal(pairs.clean.scored.sum(1), torch.ones_like(right))
    assert torch.equal(tokens[rows, source], right)
    assert torch.equal(tokens[rows, query + 1], right)
    assert torch.equal(tokens[rows, pairs.roles["before source"]], tokens[rows, query])
    assert torch.equal(query + 1 - pairs.clean.label("lag"), source)
    assert (right != wrong).all()
    assert pairs.control == (change == "outside")


def differing(pairs):
    """Where clean and corrupted tokens differ, of each pair."""
    return pairs.clean.model_inputs != pairs.corrupted.model_inputs


def test_a_block_changes_where_the_answer_stood():
    pairs = TASK.input_pairs("test", None, 0)
    assert pairs.change == "block"
    assert len(pairs) == 3000
    rows, places = differing(pairs).nonzero().unbind(1)
    assert torch.equal(rows, torch.arange(3000))
    assert torch.equal(places, pairs.roles["source"])
    assert torch.equal(pairs.corrupted.model_inputs[rows, places], pairs.classes[1])


def test_a_query_becomes_another_of_the_block():
    pairs = TASK.input_pairs("test", None, 0, "query")
    rows, places = differing(pairs).nonzero().unbind(1)
    assert torch.equal(places, pairs.position)
    assert torch.equal(rows, torch.arange(len(pairs)))
    tokens = pairs.corrupted.model_inputs
    for index in range(0, len(pairs), 50):
        start, block = (int(pairs.clean.label(name)[index]) for name in ("start", "block"))
        first = tokens[index, start : start + block].tolist()
        asked, answer = int(tokens[index, places[index]]), int(pairs.classes[1][index])
        assert (asked, answer) in pairwise(first)


def test_a_match_changes_places_within_the_block():
    pairs = TASK.input_pairs("test", None, 0, "match")
    assert (pairs.clean.label("block") >= 4).all()
    assert torch.equal(differing(pairs).sum(1), torch.full((len(pairs),), 2))
    tokens, query = pairs.corrupted.model_inputs, pairs.position
    for index in range(0, len(pairs), 50):
        start, block = (int(pairs.clean.label(name)[index]) for name in ("start", "block"))
        first = tokens[index, start : start + block].tolist()
        asked, answer = int(tokens[index, query[index]]), int(pairs.classes[1][index])
        assert (asked, answer) in pairwise(first)
        assert sorted(first) == sorted(pairs.clean.model_inputs[index, start : start + block])
    source = pairs.roles["source"]
    assert not differing(pairs)[torch.arange(len(pairs)), source].any()


def test_a_change_outside_is_of_neither_block_and_before_the_query():
    pairs = TASK.input_pairs("test", None, 0, "outside")
    rows, places = differing(pairs).nonzero().unbind(1)
    assert torch.equal(rows, torch.arange(len(pairs)))
    assert (places < pairs.position).all()
    for name in ("start", "copy"):
        ahead = places - pairs.clean.label(name)
        assert ((ahead < 0) | (ahead >= pairs.clean.label("block"))).all()
    assert torch.equal(pairs.clean.targets, pairs.corrupted.targets)


@pytest.mark.parametrize("change", RepeatedTokens.changes)
def test_the_same_seed_pairs_the_same(change):
    one, two = (TASK.input_pairs("test", 50, 3, change) for _ in range(2))
    assert torch.equal(one.corrupted.model_inputs, two.corrupted.model_inputs)
    assert torch.equal(one.position, two.position)


def test_a_change_that_no_sequence_has_room_for_is_refused():
    with pytest.raises(ValueError, match="change 'match': no two inputs of the split test differ"):
        RepeatedTokens(max_block=3).input_pairs("test", None, 0, "match")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_block": 5, "max_block": 4}, "min_block 5 is over max_block 4"),
        ({"length": 19}, "max_block 10: a block and its copy do not fit into length 19"),
        ({"min_block": 1}, "greater than or equal to 2"),
    ],
)
def test_options_that_are_wrong_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        RepeatedTokens.model_validate(fields)


def test_data_without_a_count_are_refused():
    with pytest.raises(ValueError, match="draws without end"):
        TASK.data(None, generator(0))


def test_it_can_be_trained_on(tmp_path):
    metrics = train(tiny_repeats(), tmp_path / "run", device="cpu").metrics
    assert metrics is not None
    assert list(metrics) == ["step", "test.loss", "test.accuracy", "test.first_loss"]


def test_the_preset_is_the_setting_of_the_docs_and_takes_a_step(tmp_path):
    preset = load_experiment("repeated-tokens")
    fields = preset.fields
    assert [fields[f"model.{name}"] for name in ("n_layers", "n_heads", "d_model")] == [2, 2, 64]
    assert fields["model.positional_embedding_type"] == "shortformer"
    assert preset.task.facts.chance == 1 / 64
    training = preset.require_training().model_copy(
        update={"steps": 2, "chunk": 2, "checkpoints": Steps(listed=())}
    )
    changed = preset.model_copy(update={"training": training})
    run = train(changed, tmp_path / "run", device="cpu")
    first, last = (run.parameters(step)["embed.W_E"] for step in (0, 2))
    assert not torch.equal(first, last)


def test_any_vocabulary_and_length_can_be_had():
    task = RepeatedTokens(d_vocab=500, length=9, min_block=3, max_block=3, test_sequences=4)
    model = build(tiny_config(attn_only=True), task.sizes, seed=0)
    assert Snapshot.of(model, task.examples("test", None, 0)).logits().shape == (4, 9, 500)
