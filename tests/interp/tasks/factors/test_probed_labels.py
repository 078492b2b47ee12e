"""Planted models from which a task's labels can, or cannot, be read by a linear probe."""

import pytest
import torch

from analyses import ProbeAccuracy
from analyses.trees.sentences import sentences_only
from hooks import Snapshot, build
from hooks.edit import with_weights
from interp.tasks.language.dyck import Dyck
from interp.tasks.language.grammar import PLURALS
from interp.tasks.language.question_formation import QuestionFormation
from interp.tasks.language.tense_inflection import TenseInflection
from tests.planted import tiny_config

EMBED, PLACE, HEARD = "hook_embed", "hook_pos_embed", "blocks.0.hook_attn_out"
SMALL = {"train_lines": 50, "validation_lines": 600, "generalization_lines": 50}
ENGLISH = [each.model_validate(SMALL) for each in (QuestionFormation, TenseInflection)]
PRECISE = (1e-9,)


def blank(task, d_model=8):
    """A model of one layer without weights: every head attends alike to all that it sees."""
    config = tiny_config(d_model=d_model, attn_only=True)
    model = build(config, task.sizes, seed=0, dtype="float64")
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter.zero_()
    return model


def read(snapshot, label, sites, position=-1):
    """A probe's held-out score at each site."""
    found = ProbeAccuracy.measure(
        snapshot, labels=label, sites=sites, position=position, penalties=PRECISE
    )
    return found.score[0, :, 0].tolist()


@pytest.fixture(scope="module")
def strings():
    """Strings, and a model that counts brackets: 1 for each that opens, -1 for each that closes.

    Attention that takes the mean of t + 1 of these gives depth over t + 1.
    """
    task = Dyck(k=3, depth=4, train_lines=2000, validation_lines=600, generalization_lines=1)
    signs = torch.zeros(task.sizes.d_vocab or 0, 8, dtype=torch.float64)
    signs[1:4, 0], signs[4:7, 0] = 1, -1
    first = torch.zeros(2, 8, 4, dtype=torch.float64)
    first[0, 0, 0] = 1
    counting = with_weights({
        "embed.W_E": signs, "blocks.0.attn.W_V": first, "blocks.0.attn.W_O": first.mT,
    })  # fmt: skip
    return Snapshot.of(blank(task), task.examples("validation", None, 0)).edited(counting)


@pytest.mark.parametrize("position", [3, 5])
def test_dyck_depth_is_read_where_brackets_are_counted(strings, position):
    at_brackets, counted = read(strings, "depth", [EMBED, HEARD], position)
    assert counted == 1
    assert at_brackets < 0.9


def of_nouns(task):
    """Embeddings of nothing but whether a noun is plural."""
    table = torch.zeros(len(task.vocabulary), 8, dtype=torch.float64)
    table[:, 0] = torch.tensor([word in PLURALS for word in task.vocabulary]).double()
    return with_weights({"embed.W_E": table})


@pytest.mark.parametrize("task", ENGLISH, ids=lambda task: task.name)
def test_the_subjects_number_is_read_at_its_noun_and_not_before(task):
    examples = task.examples("validation", None, 0)
    snapshot = Snapshot.of(blank(task), examples).edited(of_nouns(task))
    (at_noun,) = read(snapshot, "number", [EMBED], position=2)
    (before,) = read(snapshot, "number", [EMBED], position=1)
    assert at_noun == 1
    assert before < 0.7


@pytest.mark.parametrize("task", ENGLISH, ids=lambda task: task.name)
def test_the_main_clauses_position_is_read_where_a_models_places_tell_it(task):
    # Where the verb phrase is a single verb, the sentence's end tells where its main clause is.
    places = torch.eye(task.sizes.n_ctx, 40, dtype=torch.float64)
    told_apart = with_weights({"pos_embed.W_pos": places})
    sentences = sentences_only(task.examples("validation", None, 0))
    short = sentences.at((sentences.label("predicate") == 0).nonzero()[:, 0])
    planted = Snapshot.of(blank(task, d_model=40), sentences).edited(told_apart)
    (told,) = read(planted.on(short), "main", [PLACE])
    (guessed,) = read(planted, "main", [PLACE])
    assert told == 1
    assert guessed < 0.9
