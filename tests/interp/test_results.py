import numpy as np
import pytest

from analyses import FourierSpectrum
from interp.analyze import analyze
from interp.results import (
    is_current,
    read_header,
    read_result,
    result_folder,
    saved,
    saved_scalars,
    write_result,
)
from interp.run import Run


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


def test_a_damaged_result_counts_as_absent(analysed):
    path = saved(analysed)[1].path / "10.npz"
    header = read_header(path)
    path.write_bytes(b"nonsense")
    assert not is_current(path, header)


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
