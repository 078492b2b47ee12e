import copy
import io
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from interp.runs.checkpoint_files import Checkpoint, pack

PARAMETERS = {
    "embed.W_E": torch.arange(12.0).reshape(3, 4),
    "blocks.0.mlp.b_in": torch.ones(5, dtype=torch.float64),
    "blocks.0.mlp.b_out": torch.zeros(5, dtype=torch.float64),
    "scale": torch.tensor(2.0),
    "empty": torch.zeros(0, 3),
}
PACKED = pack(PARAMETERS, step=7)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "7.safetensors"
    path.write_bytes(PACKED)
    return path


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value)
        for name, value in wanted.items()
    )


def read(path):
    """The parameters of a file, or None where it is refused as damaged."""
    try:
        return dict(Checkpoint(path))
    except ValueError:
        return None


def test_what_is_packed_comes_back(file):
    assert same(dict(Checkpoint(file)), PARAMETERS)


def test_facts_come_back(file):
    assert Checkpoint(file).facts == {"step": 7}


def test_the_same_parameters_give_the_same_bytes():
    turned = dict(reversed(PARAMETERS.items()))
    assert pack(turned, step=7) == PACKED


def test_others_read_the_file_as_any_safetensors(file):
    assert same(load_file(file), PARAMETERS)


def test_metadata_has_one_entry(file):
    with safe_open(file, framework="np") as opened:
        assert [json.loads(each)["step"] for each in opened.metadata().values()] == [7]


@given(
    place=st.integers(0, len(PACKED) - 1)
    | st.integers(0, 8 + int.from_bytes(PACKED[:8], "little")),
    flipped=st.integers(1, 255),
)
def test_one_changed_byte_is_found_or_changes_nothing(tmp_path_factory, place, flipped):
    content = bytearray(PACKED)
    content[place] ^= flipped
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(content)
    found = read(path)
    assert found is None or same(found, PARAMETERS)


@given(
    place=st.integers(8 + int.from_bytes(PACKED[:8], "little"), len(PACKED) - 1),
    flipped=st.integers(1, 255),
)
def test_one_changed_byte_of_a_tensor_is_always_found(tmp_path_factory, place, flipped):
    content = bytearray(PACKED)
    content[place] ^= flipped
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"is damaged \(.* is not as it was written\); move it away"
    ):
        dict(Checkpoint(path))


def test_other_tensors_are_read_beside_a_changed_one(tmp_path):
    content = bytearray(PACKED)
    content[-1] ^= 1  # the last tensor, in safetensors' order, is of float32
    (tmp_path / "7.safetensors").write_bytes(content)
    assert Checkpoint(tmp_path / "7.safetensors")["blocks.0.mlp.b_in"].sum() == 5


def test_a_file_without_checksums_is_read(tmp_path):
    save_file(PARAMETERS, tmp_path / "7.safetensors", metadata={"format": "pt"})
    assert same(dict(Checkpoint(tmp_path / "7.safetensors")), PARAMETERS)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.bfloat16, "BF16"), (torch.float16, "F16"), (torch.int64, "I64"), (torch.bool, "BOOL")],
)
def test_another_type_is_refused_for_what_it_is(tmp_path, dtype, name):
    save_file({"a": torch.ones(2, dtype=dtype)}, tmp_path / "7.safetensors")
    wanted = rf"\A[^\n]*7\.safetensors: a is stored as {name}, checkpoints of a run as F32 or F64"
    with pytest.raises(ValueError, match=wanted):
        dict(Checkpoint(tmp_path / "7.safetensors"))


def test_a_type_that_damage_changed_is_damage(tmp_path):
    changed = PACKED.replace(b'"dtype":"F32"', b'"dtype":"I32"', 1)
    (tmp_path / "7.safetensors").write_bytes(changed)
    with pytest.raises(ValueError, match=r"is damaged \(.* is not as it was written\)"):
        dict(Checkpoint(tmp_path / "7.safetensors"))


def test_a_file_of_another_step_is_refused_by_both_steps(file):
    wanted = r"7\.safetensors holds the parameters of step 7, and its name says 8: name each"
    with pytest.raises(ValueError, match=wanted):
        Checkpoint(file, step=8)


def test_a_file_that_does_not_say_its_step_is_of_any(tmp_path):
    (tmp_path / "7.safetensors").write_bytes(pack(PARAMETERS))
    assert same(dict(Checkpoint(tmp_path / "7.safetensors", step=8)), PARAMETERS)


def test_torch_saves_a_checkpoint_as_the_dictionary_that_it_stands_for(file):
    saved = io.BytesIO()
    torch.save(Checkpoint(file), saved)
    saved.seek(0)
    assert same(torch.load(saved, weights_only=True), PARAMETERS)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copied_checkpoint_is_the_dictionary_that_it_stands_for(file, copied):
    found = copied(Checkpoint(file))
    assert isinstance(found, dict)
    assert same(found, PARAMETERS)


@pytest.mark.parametrize("entry", ["null", "3", "[]", "{}", "{", '{"checksums": 3}'])
def test_metadata_of_another_form_is_damage(tmp_path, entry):
    save_file(PARAMETERS, tmp_path / "7.safetensors", metadata={"interp": entry})
    with pytest.raises(ValueError, match=r"7\.safetensors is damaged"):
        dict(Checkpoint(tmp_path / "7.safetensors"))
