import dataclasses
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from analyses import FourierSpectrum
from interp.measure.analyze import analyze
from interp.runs.current import saved_scalars
from interp.runs.results import (
    ResultFile,
    read_header,
    read_result,
    result_folder,
    saved,
    write_result,
)
from interp.runs.run import Run


@pytest.fixture
def analysed(folder) -> Run:
    analyze(Run(folder), ["GrokkingPhases", "FourierSpectrum"])
    return Run(folder)


def test_saved_results_are_listed_in_the_order_of_the_analyses(analysed):
    assert [(each.name, each.split) for each in saved(analysed)] == [
        ("GrokkingPhases", "series"),
        ("FourierSpectrum", "all"),
    ]


def test_a_saved_result_loads_at_its_last_step_by_default(analysed):
    each = saved(analysed)[1]
    wanted = FourierSpectrum.measure(analysed.snapshot())
    np.testing.assert_array_equal(each.load().power, wanted.power)


def test_a_saved_result_loads_at_step_0(analysed):
    wanted = FourierSpectrum.measure(analysed.snapshot(0))
    np.testing.assert_array_equal(saved(analysed)[1].load(0).power, wanted.power)


def test_saved_scalars_have_a_row_a_step(analysed):
    assert saved_scalars(analysed, "FourierSpectrum")["step"].tolist() == list(analysed.steps)


def test_nothing_saved_is_an_empty_table(folder):
    assert saved_scalars(Run(folder), "FourierSpectrum").empty


def test_a_series_without_saved_results_says_what_to_run(folder):
    with pytest.raises(
        ValueError, match="no saved results of FourierSpectrum: run `interp analyze`"
    ):
        Run(folder).series().scalars("FourierSpectrum")


def test_a_header_says_what_was_measured(analysed):
    path = saved(analysed)[1].path / "10.npz"
    header = read_header(path)
    assert header["checkpoint"] == analysed.checkpoint_hash(10)
    assert (header["split"], header["options"], header["count"]) == ("all", {}, None)


def test_a_damaged_result_is_an_error_that_names_the_file(analysed):
    path = saved(analysed)[1].path / "10.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"10\.npz is damaged .* run `interp analyze` again"):
        read_result(path, FourierSpectrum)


def stored(path):
    """Every array of a file, its header among them."""
    with np.load(path) as file:
        return dict(file)


def store(path, arrays):
    """Writes a file of arrays, whatever their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(value))


def test_a_file_holds_the_arrays_of_the_result_and_a_header(analysed):
    path = saved(analysed)[1].path / "10.npz"
    wanted = [each.name for each in dataclasses.fields(FourierSpectrum)]
    assert set(stored(path)) <= {"__header__", *wanted}


def test_an_array_that_older_versions_wrote_by_mistake_is_passed_over(tmp_path, analysed):
    path = saved(analysed)[1].path / "10.npz"
    store(tmp_path / "old.npz", stored(path) | {"allow_pickle": False})
    old, new = (read_result(each, FourierSpectrum)[0] for each in (tmp_path / "old.npz", path))
    pd.testing.assert_frame_equal(old.to_frame(), new.to_frame())


def test_an_array_of_objects_is_never_pickled(tmp_path, analysed):
    result = saved(analysed)[1].load()
    object.__setattr__(result, "power", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_result(tmp_path / "objects.npz", result, {})
    assert not (tmp_path / "objects.npz").exists()


def test_a_changed_byte_is_noticed_or_changes_no_number(analysed):
    path = saved(analysed)[1].path / "10.npz"
    content, header = path.read_bytes(), read_header(path)
    whole = read_result(path, FourierSpectrum)[0]
    noticed = 0
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        found = ResultFile(FourierSpectrum, path, header).current()
        noticed += found is None
        if found is not None:
            pd.testing.assert_frame_equal(found.to_frame(), whole.to_frame())
            assert found.summary() == whole.summary()
    assert noticed > len(content) / 7 / 2


def test_an_array_of_another_shape_is_a_line_that_names_it(analysed):
    path = saved(analysed)[1].path / "10.npz"
    arrays = stored(path)
    store(path, arrays | {"power": arrays["power"].ravel()})
    with pytest.raises(
        ValueError, match=r"10\.npz is damaged \(power of FourierSpectrum is an array \["
    ):
        read_result(path, FourierSpectrum)


def test_a_value_of_another_type_is_a_line_that_names_it(analysed):
    path = saved(analysed)[1].path / "10.npz"
    arrays = stored(path)
    described = json.loads(str(arrays["__header__"]))
    described["values"]["share"] = "much"
    store(path, arrays | {"__header__": json.dumps(described)})
    with pytest.raises(ValueError, match="share of FourierSpectrum is 'much', which is not its"):
        read_result(path, FourierSpectrum)


FORMS = ["[]", "{}", "nonsense", '{"header": [], "values": {}}', '{"header": {}}']


@pytest.mark.parametrize("form", FORMS)
def test_a_header_of_another_form_is_a_line_that_names_the_file(analysed, form):
    path = saved(analysed)[1].path / "10.npz"
    store(path, stored(path) | {"__header__": form})
    for read in (read_header, lambda path: read_result(path, FourierSpectrum)):
        with pytest.raises(
            ValueError, match=r"10\.npz is damaged \(__header__ is not a JSON table"
        ):
            read(path)


def test_a_folder_of_which_nothing_can_be_read_is_passed_over_with_a_warning(analysed):
    for file in saved(analysed)[1].path.iterdir():
        file.write_bytes(b"nonsense")
    with pytest.warns(UserWarning, match=r"passed over: .*npz is damaged"):
        assert [each.name for each in saved(analysed)] == ["GrokkingPhases"]


def test_a_folder_is_known_by_those_of_its_files_that_can_be_read(analysed):
    (saved(analysed)[1].path / "0.npz").write_bytes(b"nonsense")
    assert [each.name for each in saved(analysed)] == ["GrokkingPhases", "FourierSpectrum"]


def test_a_damaged_result_counts_as_absent(analysed):
    path = saved(analysed)[1].path / "10.npz"
    header = read_header(path)
    path.write_bytes(b"nonsense")
    assert ResultFile(FourierSpectrum, path, header).current() is None


def test_a_result_of_another_version_of_the_class_is_refused(tmp_path, analysed):
    write_result(tmp_path / "old.npz", saved(analysed)[0].load(), {})
    with pytest.raises(ValueError, match="another version of FourierSpectrum"):
        read_result(tmp_path / "old.npz", FourierSpectrum)


def test_other_options_have_another_folder(analysed):
    folders = {result_folder(analysed, "A", "all", {"options": {"x": x}}) for x in (1, 2)}
    assert len(folders) == 2


@pytest.mark.parametrize("part", ["../../out", "/tmp/out", "..", "a/b", "nul\0", "", "n" * 81])
def test_a_name_or_split_is_no_way_out_of_the_folder(run, part):
    for name, split in ((part, "all"), ("FourierSpectrum", part)):
        with pytest.raises(ValueError, match="cannot name a folder of results"):
            result_folder(run, name, split, {})


def test_hostile_options_name_a_folder_inside_the_run(run):
    folder = result_folder(run, "FourierSpectrum", "all", {"../../out": "/tmp/\0"})
    assert folder.parent == run.path / "results" / "FourierSpectrum"
