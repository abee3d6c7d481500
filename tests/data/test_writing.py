"""Writing a store: blocks from any process, per subject arrays, float16, and what goes wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from dtsinn.core.errors import InputError, RunError, StoreError
from dtsinn.data.check import check_store
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study

Plan = Callable[..., StorePlan]
WriteStore = Callable[..., dict[str, np.ndarray]]
BIN = Path(sys.executable).parent
KINETICS = {
    "small": {"parameter": ("K1", "k2")},
    "per_subject": {"kinetics": (2, 3, 2)},
}


def files(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file()
    }


def test_arrays_per_subject_are_written_with_the_blocks(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    content = write_store(tmp_path / "s.zarr", tiny_plan(samples=10, block=4, **KINETICS))
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    assert group["kinetics"].chunks == (2, 2, 3, 2)
    assert np.array_equal(group["kinetics"][...], content["kinetics"])
    with xr.open_zarr(tmp_path / "s.zarr") as data:
        assert data["kinetics"].dims == ("subject", "tracer", "region", "parameter")
    check_store(str(tmp_path / "s.zarr"))


def test_a_store_has_the_same_digest_whatever_the_chunks_per_subject(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    for block in (2, 4, 8):
        write_store(tmp_path / f"{block}.zarr", tiny_plan(block=block, **KINETICS))
    assert len({open_store(str(path)).header.digest for path in tmp_path.iterdir()}) == 1


def test_what_travels_to_a_process_does_not_grow_with_the_store(tiny_plan: Plan) -> None:
    sizes = {
        len(pickle.dumps(StoreWriter("s.zarr", tiny_plan(samples=samples)).blocks))
        for samples in (8, 8000)
    }
    assert len(sizes) == 1
    assert max(sizes) < 300


def test_blocks_that_cut_subjects_take_no_arrays_per_subject(
    tmp_path: Path, tiny_plan: Plan
) -> None:
    with pytest.raises(StoreError, match="got 3 samples; wanted whole subjects"):
        StoreWriter(str(tmp_path / "s.zarr"), tiny_plan(block=3, **KINETICS)).begin()
    assert StoreWriter(str(tmp_path / "t.zarr"), tiny_plan(block=3)).begin() == [0, 1, 2]


def block_of(plan: StorePlan) -> dict[str, np.ndarray]:
    types = {"regions": np.uint8}
    return {
        name: np.ones((plan.block, *shape[1:]), types.get(name, np.float32))
        for name, shape in plan.images.items()
    }


def test_a_block_that_does_not_fit_is_refused(tmp_path: Path, tiny_plan: Plan) -> None:
    plan = tiny_plan()
    writer = StoreWriter(str(tmp_path / "s.zarr"), plan)
    writer.begin()
    whole = block_of(plan)
    with pytest.raises(StoreError, match=r"mixture, block 0; got \(4, 3, 4, 4\); wanted \(4, 3"):
        writer.write(0, whole | {"mixture": whole["mixture"][..., :-1]})
    with pytest.raises(StoreError, match="regions, block 1; got nothing; wanted"):
        writer.write(1, {name: whole[name] for name in ("mixture", "tracers")})
    for value in (np.nan, np.inf):
        bad = whole["tracers"].copy()
        bad[2, 1, 0] = value
        with pytest.raises(StoreError, match="tracers, block 0 holds NaN or infinity"):
            writer.write(0, whole | {"tracers": bad})


def test_a_store_is_not_sealed_before_all_blocks_are_written(
    tmp_path: Path, tiny_plan: Plan
) -> None:
    writer = StoreWriter(str(tmp_path / "s.zarr"), tiny_plan())
    writer.begin()
    writer.write(1, block_of(writer.plan))
    with pytest.raises(StoreError, match="not whole; got 1 blocks unwritten, such as 0"):
        writer.seal()
    with pytest.raises(StoreError, match="no store at"):
        open_store(str(tmp_path / "s.zarr"))


def test_a_damaged_partial_is_not_sealed(tmp_path: Path, tiny_plan: Plan) -> None:
    writer = StoreWriter(str(tmp_path / "s.zarr"), tiny_plan())
    for block in writer.begin():
        writer.write(block, block_of(writer.plan))
    (tmp_path / "s.zarr.partial" / "mixture" / "c" / "1" / "0" / "0" / "0").write_bytes(b"")
    with pytest.raises(StoreError, match=r"partial cannot be read back; got .*; try to remove it"):
        writer.seal()
    assert not (tmp_path / "s.zarr").exists()


def test_what_a_killed_process_left_half_written_is_cleared_away(
    tmp_path: Path, tiny_plan: Plan
) -> None:
    plan = tiny_plan()
    writer = StoreWriter(str(tmp_path / "s.zarr"), plan)
    writer.begin()
    writer.write(0, block_of(plan))
    torn = tmp_path / "s.zarr.partial" / "mixture" / "c" / "1" / "0" / "0" / "0.1a2b.partial"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"half")
    again = StoreWriter(str(tmp_path / "s.zarr"), plan)
    assert again.begin() == [1]
    again.write(1, block_of(plan))
    again.seal()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_layout_that_was_interrupted_is_made_again(tmp_path: Path, tiny_plan: Plan) -> None:
    partial = tmp_path / "s.zarr.partial"
    zarr.open_group(partial, mode="w", attributes={"format": "dtsinn-store"})
    (partial / "mixture").mkdir()
    assert StoreWriter(str(tmp_path / "s.zarr"), tiny_plan()).begin() == [0, 1]


@pytest.mark.parametrize("content", ["zarr", "file", "garbage"])
def test_something_else_in_the_place_of_the_partial_is_left_alone(
    tmp_path: Path, tiny_plan: Plan, content: str
) -> None:
    partial = tmp_path / "s.zarr.partial"
    if content == "zarr":
        zarr.open_group(partial, mode="w", attributes={"mine": 1})
    else:
        partial.mkdir()
        (partial / ("thesis.txt" if content == "file" else "zarr.json")).write_text("years of work")
    before = files(partial)
    with pytest.raises(StoreError, match="partial holds something else; try another OUT"):
        StoreWriter(str(tmp_path / "s.zarr"), tiny_plan()).begin()
    assert files(partial) == before


def test_float16_is_stored_and_float32_handed_out(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    content = write_store(tmp_path / "half.zarr", tiny_plan(dtype="float16"))
    store = open_store(str(tmp_path / "half.zarr"))
    assert store.header.dtype == "float16"
    assert zarr.open_group(tmp_path / "half.zarr")["tracers"].dtype == np.float16
    samples = store.read([1, 5])
    assert samples.mixture_NTYX.dtype == np.float32
    assert samples.tracers_NKTYX is not None
    assert samples.tracers_NKTYX.dtype == np.float32
    assert np.array_equal(samples.mixture_NTYX, content["mixture"][[1, 5]].astype(np.float16))
    check_store(str(tmp_path / "half.zarr"))
    write_store(tmp_path / "full.zarr", tiny_plan())
    assert open_store(str(tmp_path / "full.zarr")).header.digest != store.header.digest


@pytest.mark.parametrize("value", [65_505.0, -70_000.0, 1e9])
def test_a_value_that_float16_cannot_hold_is_refused(
    tmp_path: Path, tiny_plan: Plan, value: float
) -> None:
    plan = tiny_plan(dtype="float16")
    writer = StoreWriter(str(tmp_path / "s.zarr"), plan)
    writer.begin()
    images = block_of(plan)
    images["mixture"][1, 1, 1, 1] = 65_504.0
    writer.write(0, images)
    images["mixture"][1, 1, 1, 1] = value
    with pytest.raises(StoreError) as caught:
        writer.write(1, images)
    assert "mixture, block 1 does not fit float16" in str(caught.value)
    assert "wanted at most 65504 kBq/mL; try a float32 store" in str(caught.value)


def test_another_type_is_refused(tiny_plan: Plan) -> None:
    with pytest.raises(InputError, match="dtype; got 'int8'; wanted float32 or float16"):
        tiny_plan(dtype="int8")


def test_a_study_in_float16_is_the_same_but_for_rounding(tmp_path: Path) -> None:
    request = StudyRequest(subjects=2, slices=1, size=16, seed=1)
    full = simulate_study(request, str(tmp_path / "full.zarr"), workers=1)
    half = simulate_study(request, str(tmp_path / "half.zarr"), workers=1, dtype="float16")
    assert (full.header.dtype, half.header.dtype) == ("float32", "float16")
    assert zarr.open_group(tmp_path / "half.zarr").attrs["dtype"] == "float16"
    exact = open_store(str(tmp_path / "full.zarr")).read([0, 1])
    rounded = open_store(str(tmp_path / "half.zarr")).read([0, 1])
    assert np.array_equal(rounded.mixture_NTYX, exact.mixture_NTYX.astype(np.float16))
    with pytest.raises(StoreError, match=r"begun with other settings|exists already"):
        simulate_study(request, str(tmp_path / "half.zarr"), workers=1)


def test_a_simulation_says_what_it_took(tmp_path: Path) -> None:
    request = StudyRequest(subjects=3, slices=2, size=16)
    result = simulate_study(request, str(tmp_path / "s.zarr"), workers=1)
    assert result.samples_written == result.samples == result.header.samples == 6
    assert result.digest == result.header.digest
    assert result.seconds > 0
    assert 20 < result.driver_peak_MiB < 100_000
    assert result.worker_peak_MiB is None


def test_a_killed_worker_is_told_and_the_same_call_goes_on(tmp_path: Path) -> None:
    request = StudyRequest(subjects=8, slices=8, size=16)
    out = str(tmp_path / "s.zarr")

    def kill_one(what: str, done: int, total: int) -> None:
        if done >= 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(
        RunError, match=r"a worker process was killed; got .*; try the same command"
    ):
        simulate_study(request, out, workers=2, progress=kill_one)
    result = simulate_study(request, out, workers=1)
    assert 0 < result.samples_written < 64
    assert result.digest == simulate_study(request, str(tmp_path / "t.zarr"), workers=1).digest


STUDY = ["--subjects", "6", "--slices", "8", "--size", "16", "--quiet"]
ON_A_FULL_DISK = """
set -e
mount -t tmpfs -o size=20m none "$1"
head -c 19000k /dev/zero > "$1/ballast"
set +e
"$2" simulate "$1/s.zarr" {study} --workers 2 2> "$3/first"
echo $? > "$3/code"
ls "$1" > "$3/left"
rm "$1/ballast"
"$2" simulate "$1/s.zarr" {study} --workers 1 2> "$3/second"
cp -r "$1/s.zarr" "$3/"
"""


def can_mount(folder: Path) -> bool:
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", str(folder)]
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(command, capture_output=True).returncode
    )


def on_a_full_disk(out: Path, disk: Path) -> tuple[int, str, list[str]]:
    """Simulate on a full tmpfs, free it, simulate again; exit code, message, files of the first."""
    script = ON_A_FULL_DISK.format(study=" ".join(STUDY))
    subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", disk, BIN / "dtsinn", out], check=True
    )
    left = [name for name in (out / "left").read_text().split() if name != "ballast"]
    assert (out / "second").read_text() == ""
    return int((out / "code").read_text()), (out / "first").read_text(), left


def with_small_files(out: Path) -> tuple[int, str, list[str]]:
    """The same where no disk can be mounted: the first call may write small files only."""
    limit = (100_000, 100_000)
    command = [str(BIN / "dtsinn"), "simulate", str(out / "s.zarr"), *STUDY]
    first = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    left = [path.name for path in out.iterdir()]
    subprocess.run(command, check=True)
    return first.returncode, first.stderr, left


def test_a_full_disk_is_told_and_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").mkdir()
    if can_mount(tmp_path / "disk"):
        code, message, left = on_a_full_disk(tmp_path / "out", tmp_path / "disk")
        assert "No space left on device" in message
    else:
        code, message, left = with_small_files(tmp_path / "out")
        assert "File too large" in message
    assert code == 1
    assert message.count("\n") == 1
    assert "s.zarr cannot be written" in message
    assert "try the same command again" in message
    assert left == ["s.zarr.partial"]
    request = StudyRequest(subjects=6, slices=8, size=16, population="varied")
    simulate_study(request, str(tmp_path / "whole.zarr"), workers=1)
    assert files(tmp_path / "out" / "s.zarr") == files(tmp_path / "whole.zarr")


def test_a_directory_that_cannot_be_written_to_is_told(tmp_path: Path, tiny_plan: Plan) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = StoreWriter(str(tmp_path / "file" / "s.zarr"), tiny_plan())
    with pytest.raises(RunError, match=r"cannot be written; got .*Not a directory"):
        writer.begin()


def test_the_attributes_say_how_the_images_are_stored(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    write_store(tmp_path / "s.zarr", tiny_plan(attributes={"seed": 3}))
    content = json.loads((tmp_path / "s.zarr" / "zarr.json").read_text())["attributes"]
    assert content["dtype"] == "float32"
    assert content["seed"] == 3
    assert content["complete"] is True
