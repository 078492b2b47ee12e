"""Runs pushed to a Hub and read back."""

import inspect
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import interp
from interp.cli import commands
from interp.config import load_experiment
from interp.measure.analyze import analyze
from interp.runs import Run, locked, read_metrics
from interp.training.loop import train
from tests.interp.tasks.test_data_files import TOML, write_lines

# The Hub's client on its own network library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ADDRESS = "hf://ada/tiny"
ANALYSES = ["WeightNorms", "GrokkingPhases"]


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """The tiny run with two analyses; nobody changes it."""
    path = shutil.copytree(run.path, tmp_path_factory.mktemp("runs") / "tiny")
    analyze(Run(path), ANALYSES)
    return Run(path)


@pytest.fixture
def own(measured, tmp_path):
    """A copy of it, to be changed."""
    return Run(shutil.copytree(measured.path, tmp_path / "tiny"))


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Runs the command line in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        capsys.readouterr()  # bars of the client
        monkeypatch.setattr(sys, "argv", ["interp", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return call


def held(hub, revision="main"):
    """The files of the repository."""
    return hub.repositories["ada/tiny"].files(revision)


def test_a_run_comes_back_as_it_was(hub, measured):
    interp.push(measured, ADDRESS)
    loaded = interp.load(ADDRESS)
    assert loaded.experiment == measured.experiment
    assert loaded.steps == measured.steps
    assert read_metrics(loaded.path / "metrics.jsonl") == read_metrics(
        measured.path / "metrics.jsonl"
    )
    assert loaded.checkpoint_hash(40) == measured.checkpoint_hash(40)
    assert loaded.scalars("WeightNorms").equals(measured.scalars("WeightNorms"))
    phases = measured.result("GrokkingPhases").summary()
    assert str(loaded.result("GrokkingPhases").summary()) == str(phases)  # some are NaN
    models = [dict(run.model(40).named_parameters()) for run in (loaded, measured)]
    assert models[0]["embed.W_E"].equal(models[1]["embed.W_E"])
    assert loaded.name == "tiny"


def test_what_is_uploaded_is_the_run_and_its_card(hub, measured):
    (measured.path / "notes.txt").write_text("mine")
    (measured.path / "trackers.json").write_text("{}")
    interp.push(measured, ADDRESS)
    names = set(held(hub))
    results = {name for name in names if name.startswith("results/")}
    assert names - results == {
        ".gitattributes",
        "README.md",
        "environment.json",
        "experiment.toml",
        "metrics.jsonl",
        *(f"checkpoints/{step}.safetensors" for step in measured.steps),
    }
    assert {name.split("/")[1] for name in results} == set(ANALYSES)
    assert len(results) == len(measured.steps) + 1
    (measured.path / "notes.txt").unlink()
    (measured.path / "trackers.json").unlink()


def test_the_address_names_the_commit_which_later_pushes_leave(hub, own):
    first = interp.push(own, ADDRESS)
    assert first == f"{ADDRESS}@{hub.repositories['ada/tiny'].branches['main']}"
    own.checkpoint(30).unlink()
    with pytest.warns(UserWarning, match="not current"):
        interp.push(own, ADDRESS)
    assert interp.load(first).steps == (0, 10, 20, 30, 40)
    assert interp.load(ADDRESS).steps == (0, 10, 20, 40)


def test_what_the_run_no_longer_has_is_deleted_and_the_rest_stays(hub, own):
    interp.push(own, ADDRESS)
    hub.repositories["ada/tiny"].commit(held(hub) | {"LICENSE": b"mine"})
    shutil.rmtree(own.path / "results" / "WeightNorms")
    (own.path / "environment.json").unlink()
    interp.push(own, ADDRESS)
    assert not [name for name in held(hub) if "WeightNorms" in name]
    assert "environment.json" not in held(hub)
    assert held(hub)["LICENSE"] == b"mine"
    assert [name for name in held(hub) if "GrokkingPhases" in name]


def card(hub):
    head, _, text = held(hub)["README.md"].decode().removeprefix("---\n").partition("---\n")
    return yaml.safe_load(head), text


def test_the_card_says_settings_metrics_and_scalars(hub, measured):
    interp.push(measured, ADDRESS)
    data, text = card(hub)
    assert data == {"library_name": "interp", "tags": ["interp"]}
    assert "| task.p | 7 |" in text
    assert "| training.weight\\_decay | 0.1 |" in text
    last = read_metrics(measured.path / "metrics.jsonl")[-1]
    assert "## Metrics at step 40" in text
    assert f"| train.loss | {last['train.loss']:.4g} |" in text
    norms = measured.result("WeightNorms").summary()
    (name, value), *_ = norms.items()
    row = f"| WeightNorms | all, step 40 | {name.replace('_', ' ')} | {value:.4g} |"
    assert row in text
    assert "| GrokkingPhases | the whole run | category |" in text
    assert f'interp.load("{ADDRESS}")' in text


def test_numbers_that_are_not_current_are_neither_said_nor_uploaded(hub, own):
    (own.path / "checkpoints" / "40.safetensors").unlink()
    with pytest.warns(UserWarning, match="saved results that are not current are passed over"):
        interp.push(own, ADDRESS)
    text = card(hub)[1]
    assert "step 40 |" not in text
    assert "GrokkingPhases" not in text
    assert "WeightNorms | all, step 30" in text
    assert not [name for name in held(hub) if name.endswith(("40.npz", "series.npz"))]


def test_what_the_owner_wrote_into_the_card_stays(hub, own):
    interp.push(own, ADDRESS)
    text = held(hub)["README.md"].decode()
    edited = text.replace("---\n", "---\nlicense: mit\n", 1).replace("\n- interp", "\n- mine", 1)
    edited = edited.replace("<!-- interp: begin -->", "Ours.\n\n<!-- interp: begin -->")
    hub.repositories["ada/tiny"].commit(held(hub) | {"README.md": edited.encode()})
    own.checkpoint(30).unlink()
    with pytest.warns(UserWarning, match="not current"):
        interp.push(own, ADDRESS)
    data, text = card(hub)
    assert data == {"license": "mit", "library_name": "interp", "tags": ["mine", "interp"]}
    assert text.startswith("Ours.\n\n<!-- interp: begin -->")
    assert text.count("# tiny") == 1
    assert "4 steps, 0 to 40" in text


def test_the_card_says_why_training_failed_and_the_mark_stays_here(hub, own):
    (own.path / "failure.json").write_text('{"step": 40, "reason": "lr: no_numbers"}')
    interp.push(own, ADDRESS)
    assert "Training could not be finished: lr: no\\_numbers\n" in card(hub)[1]
    assert "failure.json" not in held(hub)


def test_a_card_from_before_the_first_push_is_kept(hub, measured):
    hub.make("ada/tiny", {"README.md": b"---\nlicense: mit\n---\nHello."})
    interp.push(measured, ADDRESS)
    assert card(hub)[0]["license"] == "mit"
    assert card(hub)[1].startswith("Hello.\n\n<!-- interp: begin -->")


def test_a_damaged_card_is_refused(hub, measured):
    hub.make("ada/tiny", {"README.md": b"---\nlicense: [mit\n---\n"})
    with pytest.raises(ValueError, match=r"README\.md begins with damaged YAML"):
        interp.push(measured, ADDRESS)


def test_no_setting_becomes_markup_in_the_card(hub, own):
    text = (own.path / "experiment.toml").read_text()
    toml = text.replace('name = "tiny"', 'name = "a_b"').replace('"*.b_*"', '"*.b_*", "*.<b>|*"')
    (own.path / "experiment.toml").write_text(toml)
    interp.push(own, ADDRESS)
    assert "a\\_b" in card(hub)[1]
    assert "\\*.\\<b\\>\\|\\*" in card(hub)[1]


@pytest.fixture
def reader(tmp_path):
    """A run whose task reads three files that lie elsewhere."""
    write_lines(tmp_path / "elsewhere" / "data")
    (tmp_path / "elsewhere" / "dyck.toml").write_text(TOML)
    return train(load_experiment(tmp_path / "elsewhere/dyck.toml"), tmp_path / "reader")


def naming(hub, place):
    """The files of the repository that hold a text."""
    return [name for name, content in held(hub).items() if str(place).encode() in content]


def named_files(hub):
    return tomllib.loads(held(hub)["experiment.toml"].decode())["task"]["files"]


def tokens_of(run):
    """Tokens of the run's examples, which are made from its files."""
    return run.snapshot().examples.model_inputs


def steps_of(address):
    """For how many steps the run of an address was to be trained."""
    return interp.load(address).experiment.require_training().steps


def test_data_files_in_the_folder_go_with_the_run(hub, reader, tmp_path):
    shutil.move(tmp_path / "elsewhere" / "data", reader.path / "lines")
    toml = (reader.path / "experiment.toml").read_text()
    moved = toml.replace(str(tmp_path / "elsewhere" / "data"), str(reader.path / "lines"))
    (reader.path / "experiment.toml").write_text(moved)
    run = Run(reader.path)
    interp.push(run, ADDRESS)
    assert naming(hub, tmp_path) == []
    assert named_files(hub)["train"] == "lines/train.txt"
    assert held(hub)["lines/train.txt"] == (run.path / "lines" / "train.txt").read_bytes()
    loaded = interp.load(ADDRESS)
    here = str(loaded.path / "lines" / "train.txt")
    assert loaded.experiment.data_files["task.train"] == here
    assert tokens_of(loaded).equal(tokens_of(run))
    assert interp.pull(ADDRESS, tmp_path / "pulled").snapshot().step == 2


@pytest.mark.filterwarnings("ignore:.*its folder has no such file")
def test_data_files_elsewhere_stay_here_and_a_line_says_so(hub, reader, tmp_path):
    with pytest.warns(UserWarning, match="outside") as warned:
        interp.push(reader, ADDRESS)
    messages = [str(warning.message) for warning in warned]
    assert [message for message in messages if "content=" not in message] == [
        f"{reader.path}: task.{field}: {name} lies outside of the run's folder, and is not uploaded"
        for field, name in named_files(hub).items()
    ]
    assert naming(hub, tmp_path) == []
    assert named_files(hub)["train"] == "train.txt"
    assert "train.txt" not in held(hub)
    assert "`train.txt`, `v.txt`, `g.txt`" in card(hub)[1]
    assert len(interp.load(ADDRESS).parameters(2)) > 0
    pulled = interp.pull(ADDRESS, tmp_path / "pulled")
    for file in (tmp_path / "elsewhere" / "data").iterdir():
        shutil.copy(file, pulled.path)
    assert tokens_of(Run(pulled.path)).equal(tokens_of(reader))


def test_two_data_files_of_one_name_keep_apart(hub, reader, tmp_path):
    (tmp_path / "other").mkdir()
    validation = reader.experiment.data_files["task.validation"]
    other = shutil.move(tmp_path / "elsewhere/data/v.txt", tmp_path / "other" / "train.txt")
    toml = (reader.path / "experiment.toml").read_text()
    moved = toml.replace(validation, str(other))
    (reader.path / "experiment.toml").write_text(moved)
    with pytest.warns(UserWarning, match="outside"):
        interp.push(Run(reader.path), ADDRESS)
    assert named_files(hub)["validation"] == "other-train.txt"


def test_a_run_without_its_data_is_refused(hub, reader, tmp_path):
    shutil.rmtree(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"data file .*train\.txt does not exist"):
        interp.push(Run(reader.path), ADDRESS)
    assert hub.repositories == {}


def test_another_path_of_the_machine_is_refused(hub, own):
    text = (own.path / "experiment.toml").read_text()
    toml = text.replace('"*.b_*"', '"/home/ada/secret"')
    (own.path / "experiment.toml").write_text(toml)
    with pytest.raises(
        ValueError, match=r"training\.frozen\.0 is /home/ada/secret, a path of this"
    ):
        interp.push(own, ADDRESS)
    assert hub.repositories == {}


def test_a_run_that_is_being_written_is_refused(hub, own):
    with locked(own.path), pytest.raises(ValueError, match="is in use: another process"):
        interp.push(Run(own.path), ADDRESS)
    assert hub.repositories == {}


def test_a_run_without_checkpoints_or_with_a_damaged_one_is_refused(hub, own):
    file = own.checkpoint(20)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"20\.safetensors is damaged"):
        interp.push(own, ADDRESS)
    shutil.rmtree(own.path / "checkpoints")
    with pytest.raises(ValueError, match="no checkpoints to share; train it"):
        interp.push(own, ADDRESS)
    assert hub.repositories == {}


def test_another_experiments_repository_is_refused_but_for_a_new_branch(hub, measured, own):
    interp.push(measured, ADDRESS)
    before = held(hub)
    toml = (own.path / "experiment.toml").read_text().replace("steps = 40", "steps = 400")
    (own.path / "experiment.toml").write_text(toml)
    other = Run(own.path)
    with pytest.raises(ValueError, match="holds the run of another experiment: choose a new rep"):
        interp.push(other, ADDRESS)
    assert held(hub) is before
    interp.push(other, f"{ADDRESS}@longer")
    assert (steps_of(f"{ADDRESS}@longer"), steps_of(ADDRESS)) == (400, 40)
    interp.push(other, f"{ADDRESS}@longer")


def test_a_repository_of_something_else_is_refused(hub, measured):
    hub.make("ada/tiny", {"pytorch_model.bin": b"x", "README.md": b"A model."})
    with pytest.raises(ValueError, match=r"holds other files \(pytorch_model\.bin\) and no run"):
        interp.push(measured, ADDRESS)


def test_a_private_run_is_private_and_a_public_repository_is_refused(hub, measured, monkeypatch):
    interp.push(measured, ADDRESS, private=True)
    assert hub.repositories["ada/tiny"].private
    interp.push(measured, ADDRESS, private=True)
    hub.repositories["ada/tiny"].private = False
    before = held(hub)
    with pytest.raises(ValueError, match="is public: make it private on its page, or leave --priv"):
        interp.push(measured, ADDRESS, private=True)
    assert held(hub) is before


def test_only_a_run_is_pushed(hub):
    with pytest.raises(TypeError, match=r"interp.push takes a run, .*; got a str"):
        inspect.unwrap(interp.push)("runs/demo", ADDRESS)  # without the checks of types in tests


# What goes wrong on the way, each in one line of the command line.


def test_the_command_line_pushes_and_pulls(hub, measured, call, tmp_path):
    code, out, _ = call("push", measured.path, ADDRESS, "--private")
    assert (code, out.startswith(f"pushed {ADDRESS}@")) == (0, True)
    assert hub.repositories["ada/tiny"].private
    assert call("pull", ADDRESS, "--out", "mine")[1] == f"{ADDRESS} is in mine\n"
    assert Run(tmp_path / "mine").steps == measured.steps


def test_a_report_and_a_page_of_attention_read_the_hub(hub, measured, call, tmp_path):
    interp.push(measured, ADDRESS)
    assert call("report", ADDRESS, "--out", "pages")[1] == "wrote pages/index.html\n"
    page = (tmp_path / "pages" / "runs" / "tiny.html").read_text()
    assert "Weight norms" in page
    assert str(tmp_path) not in page
    assert call("show", f"{ADDRESS}@main", "--step", 0)[1] == "wrote attention.html\n"


def test_results_are_saved_in_a_copy_and_a_line_says_so(hub, measured, call, tmp_path):
    interp.push(measured, ADDRESS)
    code, out, _ = call("analyze", ADDRESS, "--only", "WeightNorms", "--only", "FourierSpectrum")
    assert code == 0
    assert out.splitlines() == [
        "results are saved in a copy, runs/tiny",
        "runs/tiny  WeightNorms: 0 measured, 5 kept",
        "runs/tiny  FourierSpectrum: 5 measured, 0 kept",
    ]
    again = call("analyze", ADDRESS, "--only", "FourierSpectrum")[1]
    assert again.endswith("FourierSpectrum: 0 measured, 5 kept\n")
    assert "FourierSpectrum" not in str(list(interp.load(ADDRESS).path.rglob("*")))


def test_a_download_stays_as_it_is(hub, measured):
    interp.push(measured, ADDRESS)
    loaded = interp.load(ADDRESS)
    before = sorted(loaded.path.rglob("*"))
    message = f"{ADDRESS}@[0-9a-f]+ is downloaded into a cache, .*`interp pull {ADDRESS}@[0-9a-f]+`"
    with pytest.raises(ValueError, match=message):
        analyze(loaded, ["FourierSpectrum"])
    assert sorted(loaded.path.rglob("*")) == before


def test_a_copy_is_not_made_over_something_else(hub, measured, own):
    interp.push(measured, ADDRESS)
    with pytest.raises(ValueError, match="is there already and is no copy of"):
        interp.pull(ADDRESS, own.path)


def test_a_copy_can_be_pushed_again(hub, measured, tmp_path):
    interp.push(measured, ADDRESS)
    before = held(hub)
    interp.push(interp.pull(ADDRESS, tmp_path / "pulled"), ADDRESS)
    assert held(hub) == before


def test_without_a_network_the_cache_is_read(hub, measured, offline):
    interp.push(measured, ADDRESS)
    path = interp.load(ADDRESS).path
    offline()
    assert interp.load(ADDRESS).path == path
    assert interp.load(ADDRESS).snapshot().step == 40


def test_only_files_of_a_run_are_downloaded(hub, measured):
    interp.push(measured, ADDRESS)
    hub.repositories["ada/tiny"].commit(held(hub) | {"weights.bin": b"x", "code.py": b"y"})
    loaded = interp.load(ADDRESS)
    assert not [path for path in loaded.path.rglob("*") if path.name in ("weights.bin", "code.py")]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://ada/nothing", "hf://ada/nothing: no such repository, or a private one: see to"),
        ("hf://ada/tiny@v2", "hf://ada/tiny@v2: the repository has no revision 'v2': name a"),
        ("hf://ada/model", "hf://ada/model is not a run: the repository has no experiment.toml"),
        ("hf://ada/gated", "hf://ada/gated: its owner grants access one by one: ask for it on"),
        ("hf://ada", "'hf:/ada' is no address on the Hub: write hf://user/name@revision"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_line(address, message, hub, measured, call):
    interp.push(measured, ADDRESS)
    hub.make("ada/model", {"config.json": b"{}"})
    hub.make("ada/gated", {"experiment.toml": b""}, gated=True)
    code, _, said = call("show", address)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"interp: {message}")


def test_who_is_not_logged_in_is_told_how(hub, measured, call, monkeypatch):
    interp.push(measured, ADDRESS, private=True)
    monkeypatch.delenv("HF_TOKEN")
    said = call("push", measured.path, "hf://ada/other")[2]
    assert said == (
        "interp: hf://ada/other: the Hub refuses (401): log in with `hf auth login`, or set "
        "HF_TOKEN, with a token that may do this\n"
    )
    assert (
        "or a private one: see to its name, and for a private one log in with"
        in (call("show", ADDRESS)[2])
    )


def test_who_may_not_write_is_told_so(hub, measured, call, monkeypatch):
    interp.push(measured, ADDRESS)
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *_, **__: None)
    assert "hf://ada/tiny: the Hub refuses (403): log in" in call("push", measured.path, ADDRESS)[2]


def test_without_a_network_and_a_cache_a_line_says_so(hub, measured, offline, call):
    offline()
    message = f"interp: {ADDRESS}: the Hub cannot be reached"
    for words in (("show", ADDRESS), ("push", measured.path, ADDRESS)):
        code, _, said = call(*words)
        assert (code, said.count("\n"), said.startswith(message)) == (2, 1, True)


def test_a_hub_that_does_not_answer_is_said_in_a_line(hub, measured, call, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, _, said = call("push", measured.path, ADDRESS)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"interp: {ADDRESS}: the Hub's client broke off (Connect")


def test_commands_name_addresses_that_are_whole():
    from interp.runs.hub import HubAddress, parse_address, source_of

    assert parse_address("hf://ada/tiny@refs/pr/1") == HubAddress("ada/tiny", "refs/pr/1")
    assert parse_address(Path("hf://ada/tiny")) == HubAddress("ada/tiny")
    commit = "0123456789" * 4
    place = Path("/cache/models--ada--a--b/snapshots") / commit
    assert source_of(place) == HubAddress("ada/a--b", commit)
    assert source_of(place.with_name("main")) is None
    for wrong in ("hf://ada", "hf://ada/tiny/more", "hf://../tiny", "hf://ada/tiny@", "runs/x"):
        with pytest.raises(ValueError, match=f"'{wrong}' is no address on the Hub"):
            parse_address(wrong)
