"""What is wrong in the published code's layout or its plan: refused by place, not by name."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from dtsinn.core.errors import InputError, RunError
from dtsinn.importers.run import import_study
from dtsinn.importers.scans import IMPORTERS

from .mat_study import (
    KINDS,
    PEOPLE,
    STEMS,
    Study,
    Write,
    images,
    plain,
    refusal,
    write_v5,
    write_v7,
    write_v73,
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_a_name_that_is_not_in_every_folder_is_counted(study: Study) -> None:
    (study.folder / "fdg" / f"{STEMS[1]}.mat").rename(study.folder / "fdg" / f"{PEOPLE[0]}.mat")
    message = study.refusal()
    assert message == (
        "fdg: its files have other names than those of the mixture; got 1 of the mixture are not "
        "in fdg (first: file 2 of 4) and 1 of fdg are not in the mixture (first: file 1 of 4); "
        "wanted the same names in all folders"
    )
    (study.folder / "fdg" / f"{PEOPLE[0]}.mat").unlink()
    assert "got 1 of the mixture are not in fdg (first: file 2 of 4); wanted" in study.refusal()
    study.write("fdg", STEMS[1], images("fdg", STEMS[1]))
    (study.folder / "hybrid" / f"{STEMS[3]}.mat").unlink()
    assert "fmz: its files have other names than those of the mixture" in study.refusal()


def test_what_is_no_mat_file_is_refused(study: Study) -> None:
    (study.folder / "fmz" / f"{PEOPLE[0]}.csv").touch()
    (study.folder / "fmz" / PEOPLE[0]).mkdir()
    assert "fmz: its folder holds 2 things that are no .mat files" in study.refusal()
    for path in (study.folder / "hybrid").iterdir():
        path.unlink()
    assert "mixture: its folder is empty" in study.refusal()


def test_two_spellings_of_one_name_are_refused(study: Study) -> None:
    study.write("fdg", STEMS[0]).with_suffix(".MAT").write_bytes(b"")
    assert "fdg: two files differ only in how .mat is written" in study.refusal()


def of_hdf5(**content: Any) -> Write:
    """A writer of a version 7.3 file; ``matlab`` is the class of ``data``."""

    def write(path: Path, array: np.ndarray) -> None:
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, value in content.items():
                if name not in {"matlab", "empty"}:
                    file[name] = value
            if "matlab" in content:
                file["data"].attrs["MATLAB_class"] = np.bytes_(content["matlab"])
            if "empty" in content:
                file["data"].attrs["MATLAB_empty"] = np.uint8(1)

    return write


def of_v5(**content: Any) -> Write:
    return lambda path, array: savemat(path, content)


def of_bytes(content: bytes) -> Write:
    return lambda path, array: path.write_bytes(content) and None


def cut(writer: Write, keep: int) -> Write:
    def write(path: Path, array: np.ndarray) -> None:
        writer(path, array)
        path.write_bytes(path.read_bytes()[:keep])

    return write


def write_v4(path: Path, array: np.ndarray) -> None:
    savemat(path, {"data": array[..., 0]}, format="4")


FULL = images("hybrid", "any")
COMPLEX_PARTS = np.zeros(FULL.T.shape, dtype=[("real", "f8"), ("imag", "f8")])


def rotten(path: Path, array: np.ndarray) -> None:
    """A compressed file of the right length, with other bytes in its middle."""
    write_v7(path, array)
    content = bytearray(path.read_bytes())
    content[2000:2040] = bytes(40)
    path.write_bytes(content)


def double(path: Path, array: np.ndarray) -> None:
    savemat(path, {"data": array})
    with path.open("ab") as file:
        file.write(path.read_bytes()[128:])


AT_OPENING: dict[str, tuple[Write, str]] = {
    "two arrays of one name": (
        double,
        "has more than one array of the plan's key; got 2",
    ),
    "no file at all": (of_bytes(b""), "is empty or no MATLAB file; try save -v7 in MATLAB"),
    "something else": (of_bytes(b"something else" * 50), "is empty or no MATLAB file"),
    "version 4": (write_v4, "of another version; got 4; wanted version 5, 7 or 7.3; try save -v7"),
    "a header of 7.3 alone": (
        of_bytes(b"MATLAB 7.3".ljust(124) + b"\x00\x02IM" + b"\0" * 600),
        "got one that claims 7.3 but is no HDF5",
    ),
    "cut in its header": (cut(write_v5, 130), "is "),
    "version 5, cut": (cut(write_v5, 900), "is cut short or damaged; try copy it again"),
    "version 7, cut": (cut(write_v7, 900), "is cut short or damaged"),
    "version 7.3, cut": (cut(write_v73, 2900), "is cut short or damaged"),
    "another key": (
        of_v5(image=FULL, other=FULL),
        "has no array of the plan's key; got 2 of other names",
    ),
    "another key, 7.3": (
        of_hdf5(image=FULL.T),
        "has no array of the plan's key; got 1 of other names",
    ),
    "another size": (
        of_v5(data=FULL[:5]),
        "another size than the first file of the mixture; got 5",
    ),
    "another size, 7.3": (of_hdf5(data=FULL[:5].T), "another size than the first file"),
    "axes of 7.3 as they stand": (of_hdf5(data=FULL), "frames; got 18 x 5 x 6"),
    "another number of frames": (
        of_v5(data=FULL[..., :17]),
        "frames; got 6 x 5 x 17; wanted rows x columns x 18 frames, as in protocol 'p1'",
    ),
    "four dimensions": (
        of_v5(data=FULL[None]),
        "the plan's key; got 4 dimensions; wanted rows",
    ),
    "an empty array": (
        of_v5(data=np.zeros((6, 0, 18))),
        "the plan's key is empty; got 6 x 0 x 18",
    ),
    "an empty array, 7.3": (of_hdf5(data=np.zeros(2), empty=1, matlab="double"), "is empty"),
    "text": (
        of_v5(data="a text"),
        "plan's key holds no real numbers; got char; wanted",
    ),
    "text, 7.3": (of_hdf5(data=FULL.T.astype("u2"), matlab="char"), "no real numbers; got char"),
    "a cell": (of_v5(data=np.array([FULL, "x"], dtype=object)), "no real numbers; got cell"),
    "a structure": (of_v5(data={"a": FULL}), "no real numbers; got struct"),
    "a structure, 7.3": (of_hdf5(**{"data/a": FULL.T}), "no real numbers; got struct"),
    "logicals": (of_v5(data=FULL > 0), "no real numbers; got logical"),
    "logicals, 7.3": (of_hdf5(data=FULL.T.astype("u1"), matlab="logical"), "got logical"),
    "complex numbers": (of_v5(data=FULL * 1j), "no real numbers; got complex; wanted double"),
    "complex numbers, 7.3": (of_hdf5(data=COMPLEX_PARTS), "no real numbers; got complex"),
}
HOLES = FULL.copy()
HOLES[2, 3, 4] = np.nan
PEAKS = FULL.copy()
PEAKS[2, 3, 4] = np.inf


def no_type(path: Path, array: np.ndarray) -> None:
    """A type that does not exist before the numbers: scipy ends the process over it."""
    write_v5(path, array)
    known, unknown = (struct.pack("<II", number, array.nbytes) for number in (9, 99))
    content = path.read_bytes()
    assert content.count(known) == 1
    path.write_bytes(content.replace(known, unknown))


def chunk_with_other_bytes(path: Path, array: np.ndarray) -> None:
    """Version 7.3 with a checksum that no longer holds."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=array.T, chunks=array.T.shape, fletcher32=True)
        place = data.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 100] ^= 0xFF
    path.write_bytes(content)


AT_READING: dict[str, tuple[Write, str]] = {
    "other bytes, compressed": (rotten, "is cut short or damaged; try copy"),
    "numbers of no type": (no_type, "is cut short or damaged; try copy"),
    "NaN": (of_v5(data=HOLES), "the array of the plan's key holds NaN or infinity"),
    "infinity, 7.3": (of_hdf5(data=PEAKS.T), "the array of the plan's key holds NaN or infinity"),
    "other bytes": (chunk_with_other_bytes, "is cut short or damaged; try copy"),
}


@pytest.mark.parametrize("case", AT_OPENING)
def test_a_file_is_refused_when_it_is_opened(study: Study, case: str) -> None:
    writer, message = AT_OPENING[case]
    study.write("fdg", STEMS[2], FULL, by=writer)
    told = study.refusal()
    # In natural order, the third name is that of the other subject's lower slice.
    assert told.startswith("fdg, file 3 of 4 (natural order)")
    assert message in told


@pytest.mark.parametrize("case", AT_READING)
def test_a_file_is_refused_when_it_is_read(study: Study, case: str) -> None:
    writer, message = AT_READING[case]
    study.write("hybrid", STEMS[1], FULL, by=writer)
    source = study.open()
    told = refusal(lambda: source.read(0))
    assert told.startswith("mixture, file 2 of 4 (natural order)")
    assert message in told


def test_a_file_that_changes_after_it_was_opened_is_refused(study: Study) -> None:
    source = study.open()
    path = study.write("fmz", STEMS[0], FULL[:4])
    with pytest.raises(InputError, match=r"fmz, file 1 of 4 .* is not what it was; got .4, 5, 18"):
        source.read(0)
    path.unlink()
    with pytest.raises(RunError, match=r"fmz, file 1 of 4 .* cannot be read for now; got No such"):
        source.read(0)


TWO_OF_ONE = {PEOPLE[0]: "*_sample2", PEOPLE[1]: [f"{PEOPLE[1]}_*", f"{PEOPLE[0]}_sample10"]}
PLANS: dict[str, tuple[Mapping[str, Any] | str, str]] = {
    "no YAML": (f"{PEOPLE[0]}: [1, 2", "the plan cannot be read as YAML; got a mistake at line"),
    "an unknown key": (plain(voxel_size=[1, 1]), "key number 8 is unknown; try voxel_size_mm"),
    "a name as key": (plain(**{PEOPLE[0]: 1}), "is unknown; wanted one of tracers, protocol"),
    "no subjects": (plain(subjects=None), "the plan: subjects is missing"),
    "no decay_corrected": (plain(decay_corrected=None), "the plan: decay_corrected is missing"),
    "decay-corrected": (
        plain(decay_corrected=True),
        "decay_corrected; got true; wanted false: a mixture has no half-life of its own",
    ),
    "decay-corrected by tracer": (
        plain(decay_corrected={"fmz": 0}),
        "decay_corrected; got another value; wanted false",
    ),
    "neither unit nor scale": (plain(scale=None), "the plan: units and scale; got neither; wanted"),
    "unit and scale": (plain(units="Bq/mL"), "the plan: units and scale; got both; wanted one"),
    "another unit": (
        plain(scale=None, units="MBq/mL"),
        "the plan: units; wanted one of kBq/mL",
    ),
    "a scale of 0": (plain(scale=0.0), "the plan: scale; got 0.0; wanted above 0 kBq/mL"),
    "one tracer": (plain(tracers=["fmz"]), "the plan: tracers; got 1 of them"),
    "a tracer twice": (plain(tracers=["fmz", "fmz"]), "the plan: tracers; got fmz twice"),
    "an unknown tracer": (plain(tracers=["fmz", "fdgg"]), "tracers.1 is not known; wanted one of"),
    "a tracer as text": (plain(tracers="fmz"), "the plan: tracers; got str; wanted"),
    "a tracer named as the mixture": (
        plain(tracers={"mixture": 1224, "fdg": 6588}),
        "the plan: tracers; got mixture; wanted another name",
    ),
    "a half-life below 0": (
        plain(tracers={"a": -1, "b": 2}),
        "tracers.0.half_life; got -1; wanted",
    ),
    "an unknown protocol": (
        plain(protocol="p99"),
        "the plan: protocol is not known; wanted one",
    ),
    "a voxel of no size": (
        plain(voxel_size_mm=[0, 2]),
        "voxel_size_mm; got 0.0; wanted above",
    ),
    "slices of no thickness": (plain(slice_thickness_mm=-1), "slice_thickness_mm; got -1"),
    "an unknown folder": (
        plain(folders={"hybrid": "x"}),
        "folders, key number 1 is unknown; wanted one of mixture, fmz, fdg",
    ),
    "folders as text": (plain(folders=PEOPLE[0]), "the plan: folders; wanted a mapping of mixture"),
    "an unknown orientation": (plain(rows="up"), "the plan: rows; wanted one of front_to_back"),
    "no expression": (plain(subjects="(?P<subject>"), "is no regular expression; got a mistake at"),
    "an expression without groups": (
        plain(subjects=f"{PEOPLE[0]}.*"),
        "subjects has no groups subject and slice; wanted as in '(?P<subject>",
    ),
    "an expression that fits nothing": (
        plain(subjects=r"(?P<subject>x+)(?P<slice>\d+)"),
        "mixture, file 1 of 4 (natural order): its name does not match subjects in the plan",
    ),
    "an expression that fits a part": (
        plain(subjects=r"(?P<subject>.+)_sample(?P<slice>\d)"),
        "mixture, file 2 of 4 (natural order): its name does not match",
    ),
    "a slice that is no number": (
        plain(subjects=r"(?P<subject>.+)_(?P<slice>\w+)"),
        "mixture, file 1 of 4 (natural order): the group slice is no number",
    ),
    "subjects as a list": (plain(subjects=list(PEOPLE)), "the plan: subjects; wanted a regular"),
    "no files of a subject": (
        plain(subjects={PEOPLE[0]: []}),
        "subjects, entry 0; wanted names",
    ),
    "a subject of no name": (plain(subjects={" ": "*"}), "subjects, entry 0; got an empty word"),
    "an expression that finds no name": (
        plain(subjects=r"(?P<subject>)\w+e(?P<slice>\d+)"),
        "mixture, file 1 of 4 (natural order): its name does not match",
    ),
    "a file that is not there": (
        plain(subjects={PEOPLE[0]: f"{PEOPLE[0]}_*", PEOPLE[1]: [STEMS[2], "Y*"]}),
        "subjects, entry 1, name 1: no file of the mixture has it",
    ),
    "a file in two places": (plain(subjects=TWO_OF_ONE), "entry 1, name 0: its file is taken alr"),
    "files of no subject": (
        plain(subjects={PEOPLE[0]: f"{PEOPLE[0]}_*"}),
        "subjects leave out 2 files of the mixture; got first mixture, file 3 of 4",
    ),
    "a split of nobody": (
        plain(splits={PEOPLE[0]: "train", "Xaver": "val"}),
        "the plan: splits, entry 1, is of no subject",
    ),
    "an unknown split": (plain(splits={PEOPLE[0]: PEOPLE[1]}), "splits, entry 0; got another word"),
    "a number as a subject": (
        "tracers: [fmz, fdg]\nprotocol: p1\ndecay_corrected: false\nscale: 40\n"
        "voxel_size_mm: [2, 2]\nslice_thickness_mm: 3\nsubjects: {010: ['*']}\n",
        'subjects, entry 0, is called no text; got int; try quotes around it, as in "010"',
    ),
    "a truth as a subject": (
        plain(splits={True: "train"}),
        "splits, entry 0, is called no text; got bool; try quotes",
    ),
    "a folder of endless name": (
        plain(folders={"fmz": "Xaver_Quast" * 80}),
        "fmz: its folder cannot be read; got File name too long",
    ),
    "splits as a list": (plain(splits=list(PEOPLE)), "the plan: splits; wanted a mapping"),
}


@pytest.mark.parametrize("case", PLANS)
def test_a_wrong_plan_is_refused(study: Study, case: str) -> None:
    plan, message = PLANS[case]
    assert message in study.refusal(plan)


def test_two_files_of_one_slice_are_refused(study: Study) -> None:
    for kind in KINDS:
        study.write(kind, f"{PEOPLE[0]}_sample02")
    message = study.refusal()
    assert message.startswith("mixture, file 2 of 5 (natural order): its subject has another file")


def test_a_missing_plan_or_folder_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the plan cannot be read"):
        IMPORTERS["mat"].open(study.folder, tmp_path / "none.yaml")
    study.open()
    with pytest.raises(
        InputError, match=r"mixture: there is no such folder in the source; got .*none, which"
    ):
        IMPORTERS["mat"].open(tmp_path / "none", study.path)


def test_a_key_of_the_plan_is_not_repeated(study: Study) -> None:
    message = study.refusal(plain(key=PEOPLE[0]))
    assert "has no array of the plan's key; got 1 of other names" in message


def test_a_shape_that_the_file_cannot_hold_is_refused(study: Study) -> None:
    path = study.folder / "hybrid" / f"{STEMS[0]}.mat"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", shape=(18, 40_000, 40_000), dtype="f4", chunks=(1, 64, 64))
    assert "mixture, file 1 of 4 (natural order) is damaged; got a file of" in study.refusal()
    with h5py.File(path, "w") as file:
        file.create_dataset("data", shape=(1, 2**20, 2**20), dtype="f4", chunks=(1, 64, 64))
    assert "size of a frame; got 1048576 x 1048576; wanted at most" in study.refusal()


def test_a_name_that_is_no_utf8_is_refused(study: Study, tmp_path: Path) -> None:
    for kind in KINDS:
        path = study.folder / kind / f"{STEMS[0]}.mat"
        path.rename(path.with_name(os.fsdecode(b"Xav\xffer_sample2.mat")))
    with pytest.raises(InputError, match=r"subjects\.\d: its id is no text in UTF-8"):
        import_study(study.open(), str(tmp_path / "o.zarr"), tmp_path / "map.json")
    assert not list(tmp_path.glob("*.json*"))


def test_what_decides_the_numbers_is_in_the_fingerprint(study: Study) -> None:
    prints = [study.open().fingerprint for _ in range(2)]
    prints.append(study.open(plain(scale=41.0)).fingerprint)
    prints.append(study.open(plain(rows="back_to_front")).fingerprint)
    study.write("fmz", STEMS[1])
    prints.append(study.open().fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
