import pytest
import torch

from hooks import Edit, Sizes, Snapshot, build
from hooks.edit import with_weights, without_heads
from hooks.generate import greedy
from hooks.models import PostNormConfig
from hooks.transformer.past_keys import past_keys
from tests.planted import random_model, tokens_as_examples

SIZES = Sizes(d_vocab=12, d_vocab_out=12, n_ctx=10)
CPU = torch.device("cpu")
UNCHANGED = Edit(hooks={"hook_embed": lambda activation, hook: activation})


def prompts():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(12, (40, 6), generator=generator)
    return tokens, torch.randint(1, 7, (40,), generator=generator)


def snapshot_of(**options):
    model = random_model(SIZES, n_layers=2, **options)
    return Snapshot.of(model, tokens_as_examples(torch.zeros(1, 2, dtype=torch.long)))


def slowly(snapshot, count, stop):
    """One row at a time, everything read again for each token."""
    tokens, lengths = prompts()
    said = []
    for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True):
        read, new = row[:length], []
        while len(new) < count and len(read) <= SIZES.n_ctx:
            with snapshot.running() as model, torch.no_grad():
                best = int(model(torch.tensor([read]))[0, -1].argmax())
            if best == stop:
                break
            new, read = [*new, best], [*read, best]
        said.append(new)
    return said


@pytest.mark.parametrize("positional_embedding_type", ["standard", "rotary"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decoding_in_batches_is_decoding_one_by_one(positional_embedding_type, dtype):
    snapshot = snapshot_of(positional_embedding_type=positional_embedding_type, dtype=dtype)
    assert greedy(snapshot, *prompts(), count=4, stop=5) == slowly(snapshot, 4, 5)


def test_a_model_that_normalises_after_each_addition_keeps_keys_too():
    model = build(PostNormConfig(n_layers=2, d_model=8, n_heads=2), SIZES, seed=0)
    assert past_keys(model, 2, CPU) is not None
    snapshot = Snapshot.of(model, tokens_as_examples(torch.zeros(1, 2, dtype=torch.long)))
    assert greedy(snapshot, *prompts(), count=4, stop=5) == slowly(snapshot, 4, 5)


def test_with_and_without_kept_keys_the_same_is_said():
    snapshot = snapshot_of()
    plain = snapshot.edited(UNCHANGED)
    expected = greedy(plain, *prompts(), count=4, stop=5)
    assert greedy(snapshot, *prompts(), count=4, stop=5) == expected


def test_an_ordinary_model_keeps_keys_one_that_looks_ahead_does_not():
    causal, both = random_model(SIZES), random_model(SIZES, attention_dir="bidirectional")
    assert past_keys(causal, 2, CPU) is not None
    assert past_keys(both, 2, CPU) is None


def test_a_model_that_looks_ahead_decodes_too():
    snapshot = snapshot_of(attention_dir="bidirectional")
    assert greedy(snapshot, *prompts(), count=3, stop=5) == slowly(snapshot, 3, 5)


def test_edits_are_heard():
    snapshot = snapshot_of().edited(without_heads(0, [0, 1]))
    assert greedy(snapshot, *prompts(), count=3, stop=5) == slowly(snapshot, 3, 5)


def always(token):
    model = snapshot_of()
    weights = {"unembed.W_U": torch.zeros(8, 12), "unembed.b_U": torch.eye(12)[token]}
    return model.edited(with_weights(weights))


def test_a_model_that_always_stops_says_nothing():
    assert greedy(always(5), *prompts(), count=4, stop=5) == [[]] * 40


def test_a_model_that_never_stops_says_as_much_as_was_asked_for():
    assert greedy(always(3), *prompts(), count=4, stop=5) == [[3, 3, 3, 3]] * 40


def test_no_more_is_said_than_there_are_positions():
    tokens, lengths = prompts()
    said = greedy(always(3), tokens, lengths, count=50, stop=5)
    # The last token is said at the last position and never read.
    assert [len(each) for each in said] == (SIZES.n_ctx - lengths + 1).tolist()


def test_padding_of_prompts_does_not_matter():
    tokens, lengths = prompts()
    padded = torch.where(torch.arange(6) < lengths[:, None], tokens, 0)
    snapshot = snapshot_of()
    expected = greedy(snapshot, tokens, lengths, count=4, stop=5)
    assert greedy(snapshot, padded, lengths, count=4, stop=5) == expected


def test_without_prompts_nothing_is_said():
    tokens, lengths = prompts()
    assert greedy(snapshot_of(), tokens[:0], lengths[:0], count=4, stop=5) == []


@pytest.mark.parametrize("length", [0, 11])
def test_an_empty_or_too_long_prompt_is_refused(length):
    tokens = torch.zeros(1, 12, dtype=torch.long)
    with pytest.raises(ValueError, match=f"lengths {length} to {length} of prompts: give 1 to 10"):
        greedy(snapshot_of(), tokens, torch.tensor([length]), count=1, stop=5)
