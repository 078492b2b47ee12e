"""State_dicts of a code that is not known here, by a table of the user's."""

import pytest
import torch

from interp.importers import import_run
from tests.foreign import TASK, state_of
from tests.planted import random_model

OPTIONS = {"act_fn": "relu", "normalization_type": None, "attention_dir": "causal"}
TABLE = """
zero_biases = true
ignored = ["layers.{layer}.rope", "step"]

[tensors]
"embed.W_E" = "tok"
"pos_embed.W_pos" = { from = "pos", rearrange = "d pos -> pos d" }
"unembed.W_U" = { from = "head.weight", rearrange = "vocab d -> d vocab" }
"blocks.{layer}.mlp.W_in" = { from = "layers.{layer}.up", rearrange = "mlp d -> d mlp" }
"blocks.{layer}.mlp.b_in" = "layers.{layer}.up_bias"
"blocks.{layer}.mlp.W_out" = "layers.{layer}.down"

[tensors."blocks.{layer}.attn.W_O"]
from = "layers.{layer}.out"
rearrange = "d_model (head d_head) -> head d_head d_model"
sizes = { head = 2 }

[tensors."blocks.{layer}.attn.W_Q"]
from = "layers.{layer}.qkv"
rearrange = "(part head d_head) d_model -> part head d_model d_head"
sizes = { part = 3, head = 2 }
index = 0

[tensors."blocks.{layer}.attn.W_K"]
from = "layers.{layer}.qkv"
rearrange = "(part head d_head) d_model -> part head d_model d_head"
sizes = { part = 3, head = 2 }
index = 1

[tensors."blocks.{layer}.attn.W_V"]
from = "layers.{layer}.qkv"
rearrange = "(part head d_head) d_model -> part head d_model d_head"
sizes = { part = 3, head = 2 }
index = 2
"""

pytestmark = pytest.mark.filterwarnings("ignore:.*it was trained on")


def model():
    """Two layers, whose biases are zeros but for those of neurons."""
    made = random_model(n_layers=2)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if ".b_" in name and not name.endswith("b_in"):
                parameter.zero_()
    return made


def foreign_state():
    """The model's weights as another code might name and shape them."""
    ours, theirs = state_of(model()), {"step": torch.tensor(3)}
    theirs |= {"tok": ours["embed.W_E"], "pos": ours["pos_embed.W_pos"].T}
    theirs["head.weight"] = ours["unembed.W_U"].T
    for layer in range(2):
        part = {name.removeprefix(f"blocks.{layer}."): value for name, value in ours.items()}
        rows = [part[f"attn.W_{letter}"].transpose(1, 2).flatten(0, 1) for letter in "QKV"]
        place = f"layers.{layer}"
        theirs |= {
            f"{place}.qkv": torch.cat(rows),
            f"{place}.out": part["attn.W_O"].flatten(0, 1).T,
            f"{place}.up": part["mlp.W_in"].T,
            f"{place}.up_bias": part["mlp.b_in"],
            f"{place}.down": part["mlp.W_out"],
            f"{place}.rope": torch.ones(3),
        }
    return {name: value.contiguous() for name, value in theirs.items()}


@pytest.fixture
def mapped(save, tmp_path):
    """Imports a state_dict by a table."""

    def mapped(state=None, table=TABLE, options=OPTIONS):
        (tmp_path / "table.toml").write_text(table)
        source = save(foreign_state() if state is None else state, "step_9.pt")
        return import_run(source, tmp_path / "run", TASK, options, mapping=tmp_path / "table.toml")

    return mapped


def test_logits_are_those_of_the_model(mapped):
    snapshot = mapped().snapshot()
    with torch.no_grad():
        expected = model()(snapshot.examples.tokens)
    torch.testing.assert_close(snapshot.logits(), expected, atol=1e-12, rtol=0)


def test_norms_of_another_code_are_mapped_too(save, tmp_path):
    made = random_model(normalization_type="LN")
    state = state_of(made)
    names = [name for name, _ in made.named_parameters()]
    theirs = {
        f"x.{i}": state[name] for i, name in enumerate(names) if "ln" not in name or "w" in name
    }
    rows = "".join(f'"{name}" = "x.{i}"\n' for i, name in enumerate(names) if f"x.{i}" in theirs)
    (tmp_path / "table.toml").write_text(
        f"zero_biases = true\nhas_norm_biases = true\n[tensors]\n{rows}"
    )
    options = OPTIONS | {"normalization_type": "LN"}
    run = import_run(
        save(theirs, "1.pt"), tmp_path / "run", TASK, options, mapping=tmp_path / "table.toml"
    )
    assert run.parameters(1)["blocks.0.ln1.b"].count_nonzero() == 0


def test_the_command_line_takes_a_table(save, tmp_path, command):
    (tmp_path / "table.toml").write_text(TABLE)
    (tmp_path / "task.toml").write_text('name = "modular_arithmetic"\np = 7\n')
    config = save(OPTIONS | {"normalization_type": "none"}, "config.json")
    reply = command(
        "import", save(foreign_state(), "step_9.pt"), "--config", config, "--out", tmp_path / "run",
        "--task", tmp_path / "task.toml", "--mapping", tmp_path / "table.toml",
    )  # fmt: skip
    assert (reply["code"], (tmp_path / "run" / "imported.json").is_file()) == (0, True)


def state_without(name):
    return {key: value for key, value in foreign_state().items() if key != name}


@pytest.mark.parametrize(
    ("state", "table", "named"),
    [
        (state_without("head.weight"), TABLE, "step 9: lacks head.weight"),
        (state_without("layers.1.down"), TABLE, "step 9: lacks layers.1.down"),
        (foreign_state() | {"ema": torch.ones(1)}, TABLE, "has unknown tensors ema"),
        (foreign_state() | {"layers.3.up": torch.ones(1)}, TABLE, "are numbered 0, 1, 3"),
        (foreign_state(), TABLE.replace("zero_biases = true", ""), "lacks blocks.0.attn.b_Q"),
        (foreign_state(), TABLE.replace('"layers.{layer}.rope", ', ""), "has unknown tensors"),
        (foreign_state(), TABLE.replace("index = 2", "index = 3"), "layers.0.qkv is [3, 2,"),
        (foreign_state(), TABLE.replace("head = 2", "head = 5"), "does not fit with head = 5"),
        (foreign_state(), TABLE.replace("vocab d ->", "vocab ->"), "[7, 8], not [vocab]"),
        (foreign_state(), TABLE.replace("vocab d -> d vocab", "vocab d -> vocab d"), "unembed.W_U"),
        (foreign_state(), TABLE.replace('"vocab d -> d vocab"', '"transpose"'), "rearrange"),
        (foreign_state(), TABLE.replace('= "tok"', '= "layers.{layer}.tok"'), "stands in only one"),
        (foreign_state(), TABLE.replace("embed.W_U", "embed.W_X"), "lacks unembed.W_U"),
        (foreign_state(), TABLE.replace("sizes", "axes"), ".axes: "),
        (foreign_state(), "tensors = {}", "table.toml: tensors"),
        (foreign_state(), "a = ", "table.toml"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_wrong_table_is_refused_by_name(mapped, tmp_path, state, table, named):
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as refused:
        mapped(state, table)
    assert named in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", OPTIONS)
def test_what_no_table_tells_is_asked_for(mapped, name):
    options = {key: value for key, value in OPTIONS.items() if key != name}
    flag = name.replace("_", "[-_]")
    with pytest.raises(ValueError, match=flag):
        mapped(options=options)


def test_a_table_that_is_not_there_is_named(save, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml: no such file"):
        import_run(
            save(foreign_state()),
            tmp_path / "run",
            TASK,
            OPTIONS,
            mapping=tmp_path / "nowhere.toml",
        )


def test_an_unknown_code_is_told_of_the_table(imported):
    with pytest.raises(ValueError, match="give --mapping, a TOML file that says which of them is"):
        imported(foreign_state())
