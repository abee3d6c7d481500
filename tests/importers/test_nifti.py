"""NIfTI scans: orientation, units and decay correction are undone; what is unclear is refused."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel
import numpy as np
import pytest

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.seeds import generator
from dtsinn.importers.nifti.scan import open_nifti
from dtsinn.importers.plan import MixturePlan, SinglePlan

C11 = 1224.0
FRAMES = {"FrameTimesStart": [40.0, 50.0, 70.0], "FrameDuration": [10.0, 20.0, 600.0]}
FIELDS = FRAMES | {"ImageDecayCorrected": False, "Units": "kBq/mL", "InjectionStart": 42.0}
VOXEL_MM = (4.0, 3.0, 2.0)
ORIGIN_MM = (-20.0, -35.0, 12.0)


@pytest.fixture
def images() -> np.ndarray:
    """[S, T, Y, X] kBq/mL: no two axes alike, nothing symmetric, some voxels negative."""
    return generator(0, "nifti").normal(5.0, 3.0, (5, 3, 6, 7)).astype(np.float32)


def opened(archive, images, fields=FIELDS, tracer_half_life=None, kind=SinglePlan, **plan: Any):
    """Write a scan and open it; keys of the plan that are no file's go into the plan."""
    saved = {key: plan.pop(key) for key in ("axes", "suffix", "edit", "voxel") if key in plan}
    archive.sidecar("scan", fields)
    path = archive.image("scan", images, **saved)
    return open_nifti(kind(image=path.name, **plan), archive.folder, "here", tracer_half_life)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "RPI", "PIR", "SAL", "ASR", "IPL"])
def test_the_order_of_the_axes_in_the_file_does_not_matter(archive, images, axes, suffix) -> None:
    scan = opened(archive, images, axes=axes, suffix=suffix)
    assert scan.size == (5, 6, 7)
    assert scan.voxel_size == pytest.approx(VOXEL_MM)
    assert scan.slice_position == pytest.approx([12, 16, 20, 24, 28])
    # The first row is the front one: five voxels of 3 mm before the one farthest back.
    assert scan.origin == pytest.approx((-20.0, -35.0 + 15.0, 12.0))
    assert np.allclose(scan.axes, np.eye(3))
    assert np.allclose(scan.read_slices(slice(0, 5)), images)
    for part in (slice(0, 1), slice(1, 3), slice(4, 5)):
        assert np.allclose(scan.read_slices(part), images[part])


def test_a_small_tilt_is_kept_and_a_large_one_refused(archive, images) -> None:
    def tilted(degrees: float):
        turn = np.deg2rad(degrees)
        matrix = np.eye(4)
        matrix[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        return lambda image: image.set_sform(matrix @ image.affine, code=2)

    scan = opened(archive, images, edit=tilted(5.0))
    assert np.allclose(scan.read_slices(slice(0, 5)), images)
    assert scan.voxel_size == pytest.approx(VOXEL_MM)
    assert np.diff(scan.slice_position) == pytest.approx(4.0 * np.cos(np.deg2rad(5.0)))
    assert scan.axes[1][2] == pytest.approx(np.sin(np.deg2rad(5.0)))
    with pytest.raises(InputError, match=r"slices are not axial; got axes tilted by 20.0 degrees"):
        opened(archive, images, edit=tilted(20.0))


def test_only_the_slices_asked_for_are_read(archive) -> None:
    images = generator(0, "large").random((5, 3, 30, 40)).astype(np.float32)
    opened(archive, images, suffix=".nii")
    path = archive.folder / "scan.nii"
    scan = open_nifti(SinglePlan(image="scan.nii"), archive.folder, "here", None)
    path.write_bytes(path.read_bytes()[:-4])  # the highest voxel of the last frame
    assert np.allclose(scan.read_slices(slice(0, 4)), images[:4])
    with pytest.raises(InputError, match=r"here\.image is damaged"):
        scan.read_slices(slice(4, 5))


def test_scaled_integers_are_read_as_what_they_mean(archive, images) -> None:
    def as_integers(image) -> None:
        image.set_data_dtype(np.int16)

    scan = opened(archive, images, edit=as_integers)
    assert nibabel.load(archive.folder / "scan.nii.gz").get_data_dtype() == np.int16  # type: ignore[attr-defined]
    assert np.abs(scan.read_slices(slice(0, 5)) - images).max() < 1e-3


@pytest.mark.parametrize(
    ("unit", "scale"), [("Bq/mL", 1e-3), ("Bq/ml", 1e-3), ("BQ/ML", 1e-3), ("kBq/mL", 1.0)]
)
def test_units_come_from_the_sidecar_or_the_plan(archive, images, unit, scale) -> None:
    scan = opened(archive, images, FIELDS | {"Units": unit})
    assert np.allclose(scan.read_slices(slice(0, 5)), images * scale)
    assert np.allclose(
        opened(archive, images, FIELDS | {"Units": "counts"}, units=unit).read_slices(slice(0, 5)),
        images * scale,
    )


def corrected(reference: float, half_life: float) -> np.ndarray:
    """[T, 1, 1] by what a scanner multiplies, by quadrature."""
    factors = []
    for start, seconds in zip(FRAMES["FrameTimesStart"], FRAMES["FrameDuration"], strict=True):
        time = start + seconds * (np.arange(20_000) + 0.5) / 20_000
        factors.append(1.0 / np.mean(np.exp2(-(time - reference) / half_life)))
    return np.array(factors)[:, None, None]


@pytest.mark.parametrize("reference", [0.0, 42.0, 40.0, 600.0])
def test_importing_undoes_a_decay_correction(archive, images, reference) -> None:
    fields = FIELDS | {
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": reference,
        "TracerRadionuclide": "C11",
    }
    stored = images * corrected(reference, C11)
    scan = opened(archive, stored, fields)
    assert scan.decay_corrected
    assert scan.half_life == C11
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "plan", "tracer", "used"),
    [
        ({}, {}, 900.0, 900.0),
        ({"TracerRadionuclide": "C11"}, {}, 900.0, C11),
        ({"TracerRadionuclide": "C11", "RadionuclideHalfLife": 1218.0}, {}, 900.0, 1218.0),
        (
            {"TracerRadionuclide": "C11", "RadionuclideHalfLife": 6588.0},
            {"half_life": C11},
            900.0,
            C11,
        ),
        ({"RadionuclideHalfLife": 1100.0}, {"half_life": 1000.0}, 900.0, 1000.0),
        ({"TracerRadionuclide": "unheard of"}, {}, 900.0, 900.0),
    ],
)
def test_the_half_life_nearest_to_the_scanner_is_used(
    archive, images, fields, plan, tracer, used
) -> None:
    said = {"ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0.0}
    stored = images * corrected(0.0, used)
    scan = opened(archive, stored, FIELDS | said | fields, tracer, **plan)
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)
    assert scan.half_life == (None if used == tracer else used)


def test_the_plan_speaks_where_the_sidecar_is_silent_or_wrong(archive, images) -> None:
    stored = images * corrected(42.0, C11)
    silent = {key: value for key, value in FIELDS.items() if key != "ImageDecayCorrected"}
    plan = SinglePlan(
        image="scan.nii.gz", decay_corrected=True, decay_reference=42.0, half_life=C11
    )
    for fields in (silent, FIELDS, silent | {"ImageDecayCorrectionTime": 5.0}):
        opened(archive, stored, silent | {"ImageDecayCorrected": False})
        archive.sidecar("scan", fields)
        scan = open_nifti(plan, archive.folder, "here", None)
        assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


def test_the_scanners_own_factors_are_used(archive, images) -> None:
    factors = own_factors(40.0)
    fields = FIELDS | {"ImageDecayCorrected": True, "DecayCorrectionFactor": factors}
    stored = images * np.array(factors)[:, None, None]
    scan = opened(archive, stored, fields)
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-6)
    with pytest.raises(InputError, match="contradict each other; got false and factors other"):
        opened(archive, images, fields | {"ImageDecayCorrected": False})
    with pytest.raises(InputError, match="contradict each other; got false in the plan, and fac"):
        opened(archive, images, fields, decay_corrected=False)
    scan = opened(archive, images, fields, decay_corrected=False, unusual_decay="yes")
    assert np.allclose(scan.read_slices(slice(0, 5)), images)


def test_suv_is_undone_with_dose_and_weight(archive, images) -> None:
    """1 kBq/mL of 300 MBq in 75 kg, 4 MBq/kg, is a SUV of 0.25 g/mL."""
    fields = FIELDS | {
        "Units": "SUV",
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 42.0,
        "TracerRadionuclide": "C11",
    }
    stored = images * corrected(42.0, C11) / 4.0
    scan = opened(archive, stored, fields, weight_kg=75.0, dose_MBq=300.0)
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


SUV = {"Units": "SUV", "ImageDecayCorrected": True, "TracerRadionuclide": "C11"}


@pytest.mark.parametrize(
    ("fields", "plan", "message"),
    [
        ({"ImageDecayCorrectionTime": 42.0}, {}, "SUV without body weight and dose"),
        (
            {"ImageDecayCorrectionTime": 42.0},
            {"weight_kg": 0.0, "dose_MBq": 300.0},
            "body weight; got 0 kg; wanted 0.005 to 700 kg",
        ),
        (
            {"ImageDecayCorrectionTime": 0.0},
            {"weight_kg": 75.0, "dose_MBq": 300.0},
            "SUV that is not decay-corrected to the injection",
        ),
        (
            {"ImageDecayCorrected": False},
            {"weight_kg": 75.0, "dose_MBq": 300.0},
            "SUV that is not decay-corrected to the injection",
        ),
    ],
)
def test_suv_that_cannot_be_undone_is_refused(archive, images, fields, plan, message) -> None:
    with pytest.raises(InputError, match=f"here: {message}"):
        opened(archive, images, FIELDS | SUV | fields, **plan)


def test_a_mixture_in_suv_is_refused(archive, images) -> None:
    with pytest.raises(InputError, match="here: a mixture in SUV"):
        opened(archive, images, FIELDS | SUV, kind=MixturePlan)


def test_an_injection_is_that_of_the_plan_or_the_sidecar(archive, images) -> None:
    assert opened(archive, images).injection_time == 42.0
    assert opened(archive, images, injection_time=45.0).injection_time == 45.0
    scan = opened(archive, images, kind=MixturePlan, injection_time=(45.0, 55.0))
    assert scan.injection_time == 42.0, "what the sidecar says, to be held against the plan"


def without(*names: str) -> dict[str, Any]:
    return {key: value for key, value in FIELDS.items() if key not in names}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            without("ImageDecayCorrected"),
            "here: nothing says whether .* are decay-corrected; .*try decay_corrected: true",
        ),
        (
            FIELDS | {"ImageDecayCorrected": True, "TracerRadionuclide": "C11"},
            "here: nothing says to which time .*; .*try decay_reference: SECONDS",
        ),
        (
            FIELDS | {"ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0},
            "here: nothing says with which half-life .*; .*try half_life: SECONDS",
        ),
        (
            FIELDS | {"ImageDecayCorrected": True, "DecayCorrectionFactor": [1.0, 2.0]},
            r"here.sidecar: DecayCorrectionFactor; got 2 numbers, the smallest 1; wanted 3",
        ),
        (
            FIELDS | {"ImageDecayCorrected": True, "DecayCorrectionFactor": [1.0, 0.0, 1.0]},
            r"here.sidecar: DecayCorrectionFactor; got 3 numbers, the smallest 0",
        ),
        (without("Units"), "here: units are missing; .*try units: Bq/mL, kBq/mL or SUV"),
        (
            FIELDS | {"Units": " M\nBq/mL (Jane Doe, born 1980)"},
            "here: unknown unit; got 'MBq/mLJaneDoebor'; wanted Bq/mL, kBq/mL or SUV",
        ),
        (FIELDS | {"RadionuclideHalfLife": -5}, "here: half-life; got -5"),
        (without("FrameDuration"), r"here\.sidecar: FrameDuration is missing"),
        (FIELDS | {"FrameDuration": "10"}, "FrameDuration; got something else, str; wanted a list"),
        (FIELDS | {"FrameDuration": [1, "x"]}, "FrameDuration; got something else, list"),
        (FIELDS | {"InjectionStart": "0"}, "InjectionStart; got something else, str; wanted a"),
        (FIELDS | {"InjectionStart": True}, "InjectionStart; got something else, bool"),
        (FIELDS | {"InjectionStart": float("nan")}, "InjectionStart; got something else, float"),
        (FIELDS | {"ImageDecayCorrected": "true"}, "ImageDecayCorrected; got something else, str"),
        (FIELDS | {"Units": 3}, "Units; got something else, int; wanted text"),
        (FIELDS | {"FrameDuration": [10, 15, 10]}, "here: frames 1 and 2 have a gap"),
        (
            FIELDS | {"FrameTimesStart": [0, 10], "FrameDuration": [10, 10]},
            "here: frames; got 3 in the image and 2 in the sidecar; wanted as many",
        ),
    ],
)
def test_a_sidecar_that_does_not_say_enough_is_refused(archive, images, fields, message) -> None:
    with pytest.raises(InputError, match=message) as caught:
        opened(archive, images, fields)
    assert "\n" not in str(caught.value)


def test_a_null_in_the_sidecar_counts_as_absent(archive, images) -> None:
    scan = opened(archive, images, FIELDS | {"InjectionStart": None, "TracerRadionuclide": None})
    assert scan.injection_time is None
    assert scan.half_life is None


def test_end_times_in_a_sidecar_need_a_word_in_the_plan(archive, images) -> None:
    fields = FIELDS | {"FrameDuration": [50.0, 70.0, 670.0]}
    with pytest.raises(InputError, match=r"here: frames 0 and 1 overlap.*frame_end_times: true"):
        opened(archive, images, fields)
    scan = opened(archive, images, fields, frame_end_times=True)
    assert scan.frame_duration == (10.0, 20.0, 600.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "here.sidecar is no JSON; got a mistake at line 1, column 2"),
        ("[]", "here.sidecar holds no fields; got list; wanted a mapping"),
        (b"\xff\xfe{}", "here.sidecar cannot be read; got bytes that are no text in UTF-8"),
        ("[" * 200_000, "here.sidecar cannot be read; got too many levels"),
        (None, "here.sidecar cannot be read; got No such file or directory"),
    ],
)
def test_a_damaged_sidecar_is_refused(archive, images, content, message: str) -> None:
    opened(archive, images)
    path = archive.folder / "scan.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        open_nifti(SinglePlan(image="scan.nii.gz"), archive.folder, "here", None)
    assert str(archive.folder) not in str(caught.value)


def test_a_sidecar_may_have_another_name(archive, images) -> None:
    opened(archive, images)
    (archive.folder / "scan.json").rename(archive.folder / "other.json")
    plan = SinglePlan(image="scan.nii.gz", sidecar="other.json")
    assert open_nifti(plan, archive.folder, "here", None).frame_start == (40.0, 50.0, 70.0)


def unoriented(image) -> None:
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)


def sheared(image) -> None:
    affine = image.affine.copy()
    affine[0, 1] = 0.2 * affine[1, 1]
    image.set_sform(affine, code=2)


def flat(image) -> None:
    affine = image.affine.copy()
    affine[:, 2] = 0
    image.set_sform(affine, code=2)


def in_metres(image) -> None:
    image.header.set_xyzt_units("meter", "sec")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (unoriented, "here.image does not say how it is oriented; got sform_code and qform_code 0"),
        (sheared, "here.image: affine; got axes that are not at right angles"),
        (flat, "here.image: affine; got a singular matrix"),
        (in_metres, "here.image: unit of length; got xyzt_units 1; wanted 2, mm"),
    ],
)
def test_an_unclear_orientation_is_refused(archive, images, edit, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(archive, images, edit=edit)


def test_an_image_without_frames_is_refused(archive, images) -> None:
    opened(archive, images)
    image = nibabel.load(archive.folder / "scan.nii.gz")
    nibabel.save(image.slicer[..., 0], archive.folder / "scan.nii.gz")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no dynamic scan; got 7 x 6 x 5; wanted x, y, z and fr"):
        open_nifti(SinglePlan(image="scan.nii.gz"), archive.folder, "here", None)


def test_colours_are_refused(archive, images) -> None:
    opened(archive, images)
    colours = np.zeros((7, 6, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), archive.folder / "scan.nii.gz")
    with pytest.raises(InputError, match=r"here.image: type of the voxels"):
        open_nifti(SinglePlan(image="scan.nii.gz"), archive.folder, "here", None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused_with_their_place(archive, images, value) -> None:
    images[3, 2, 1, 0] = value
    scan = opened(archive, images, axes="LPI")
    scan.read_slices(slice(0, 3))
    with pytest.raises(InputError, match="NaN or infinity in frame 2, slice 3 from the feet"):
        scan.read_slices(slice(1, 5))


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_in_one_line(archive, images, keep: float) -> None:
    opened(archive, images)
    path = archive.folder / "scan.nii.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=r"here\.image (is damaged|cannot be read)") as caught:
        open_nifti(SinglePlan(image="scan.nii.gz"), archive.folder, "here", None).read_slices(
            slice(0, 5)
        )
    assert "\n" not in str(caught.value)
    assert "scan.nii" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no image", id="text"),
        pytest.param(gzip.compress(b"no image", mtime=0), id="compressed text"),
        pytest.param(gzip.compress(b"x" * 4000, mtime=0)[:40], id="cut"),
    ],
)
def test_what_is_no_nifti_file_is_refused(archive, content: bytes) -> None:
    (archive.folder / "scan.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"here.image cannot be read as NIfTI") as caught:
        open_nifti(SinglePlan(image="scan.nii.gz"), archive.folder, "here", None)
    assert str(archive.folder) not in str(caught.value)


def test_another_format_is_refused(archive, images) -> None:
    nibabel.save(nibabel.MGHImage(images, np.eye(4)), archive.folder / "scan.mgh")
    with pytest.raises(InputError, match=r"here.image is no NIfTI file; wanted .nii or .nii.gz"):
        open_nifti(SinglePlan(image="scan.mgh"), archive.folder, "here", None)
    axes = [nibabel.cifti2.ScalarAxis(["a"]), nibabel.cifti2.SeriesAxis(0, 1, 4)]  # type: ignore[attr-defined]
    surface = nibabel.Cifti2Image(np.zeros((1, 4), dtype=np.float32), axes)
    nibabel.save(surface, archive.folder / "scan.dscalar.nii")
    with pytest.raises(InputError, match=r"here.image is no NIfTI file"):
        open_nifti(SinglePlan(image="scan.dscalar.nii"), archive.folder, "here", None)


def test_a_missing_file_is_named_by_its_place(archive) -> None:
    with pytest.raises(InputError, match=r"here.image: no such file; wanted .nii or .nii.gz"):
        open_nifti(SinglePlan(image="Jane-Doe.nii"), archive.folder, "here", None)


CORRECTED = FIELDS | {"ImageDecayCorrected": True, "TracerRadionuclide": "C11"}


def own_factors(reference: float, half_life: float = C11) -> list[float]:
    return corrected(reference, half_life).ravel().tolist()


def test_factors_that_fit_the_times_are_used(archive, images) -> None:
    """Also where scanner and table differ in the half-life."""
    for half_life in (C11, 1218.0):
        factors = own_factors(42.0, half_life)
        fields = {"ImageDecayCorrectionTime": 42.0, "DecayCorrectionFactor": factors}
        scan = opened(archive, images * np.array(factors)[:, None, None], CORRECTED | fields)
        assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"ImageDecayCorrectionTime": 42.0, "DecayCorrectionFactor": [1.0, 1.0, 1.0]},
            r"here\.sidecar: DecayCorrectionFactor of frame 2; got 1; wanted 1\.1983.* try decay",
        ),
        (
            {"ImageDecayCorrectionTime": 42.0, "DecayCorrectionFactor": [50.0, 50.0, 50.0]},
            "DecayCorrectionFactor of frame 0; got 50; wanted 1",
        ),
        (
            {"ImageDecayCorrectionTime": 700.0},
            r"here\.sidecar: ImageDecayCorrectionTime; got 700 s, for frames from 40 to 670 s",
        ),
        ({"ImageDecayCorrectionTime": -36_000.0}, "ImageDecayCorrectionTime; got -36000 s"),
    ],
)
def test_a_decay_correction_that_contradicts_itself_is_refused(
    archive, images, fields, message
) -> None:
    with pytest.raises(InputError, match=message):
        opened(archive, images, CORRECTED | fields)
    plan = {"decay_reference": 700.0, "half_life": C11, "unusual_decay": "yes"}
    scan = opened(archive, images * corrected(700.0, C11), CORRECTED | fields, **plan)
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5), "the plan wins"


@pytest.mark.parametrize(
    "plan",
    [
        {"half_life": C11},
        {"decay_reference": 42.0, "half_life": C11},
        {"decay_reference": 1800.0},
        {"decay_corrected": False},
    ],
)
@pytest.mark.parametrize("corrected_by_sidecar", [True, None])
def test_a_plan_against_the_scanners_factors_is_asked_for(
    archive, images, plan, corrected_by_sidecar
) -> None:
    """The scan of another nuclide, in the place of the one of 11C: a swapped pair."""
    factors = own_factors(42.0, 6588.0)
    stored = images * np.array(factors)[:, None, None]
    fields = {"ImageDecayCorrected": corrected_by_sidecar, "DecayCorrectionFactor": factors}
    fields = FIELDS | fields | {"ImageDecayCorrectionTime": 42.0}
    with pytest.raises(InputError) as caught:
        opened(archive, stored, fields, C11)
    assert "decay_corrected: false" not in str(caught.value)
    plan = {"decay_corrected": True} | plan
    with pytest.raises(InputError, match=r"DecayCorrectionFactor.*, or unusual_decay: yes in the"):
        opened(archive, stored, fields, C11, **plan)
    opened(archive, stored, fields, C11, unusual_decay="yes", **plan)
    right = {"decay_corrected": True, "half_life": 6588.0}
    scan = opened(archive, stored, fields, C11, **right)
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "plan", "reference"),
    [
        (SinglePlan, {}, 40.0),
        (SinglePlan, {"injection_time": -1500.0}, -1500.0),
        (MixturePlan, {}, 40.0),
        (MixturePlan, {"injection_time": (-1500.0, 60.0)}, -1500.0),
    ],
)
def test_factors_alone_tell_the_reference(archive, images, kind, plan, reference) -> None:
    """As dcm2niix writes them, which knows no injection; to one that the plan tells, too."""
    factors = own_factors(reference)
    fields = FRAMES | {"Units": "Bq/mL", "DecayFactor": factors, "RadionuclideHalfLife": C11}
    stored = images * 1000.0 * np.array(factors)[:, None, None]
    scan = opened(archive, stored, fields, kind=kind, decay_corrected=True, **plan)
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


def test_factors_that_are_none_are_overruled_when_asked(archive, images) -> None:
    stored = images * corrected(42.0, C11)
    fields = FIELDS | {"ImageDecayCorrected": True, "DecayFactor": [1.0, 2.0]}
    plan = {"decay_reference": 42.0, "half_life": C11}
    for said in ({}, plan):
        with pytest.raises(InputError, match=r"got 2 numbers, .*try decay_reference and half_life"):
            opened(archive, stored, fields, **said)
    scan = opened(archive, stored, fields, **plan, unusual_decay="yes")
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


@pytest.mark.parametrize("name", ["DecayFactor", "DecayCorrectionFactor"])
@pytest.mark.parametrize("factors", [[0.0, 0.0, 0.0], 0, ["n/a", "n/a", "n/a"], []])
def test_factors_of_zero_are_not_told(archive, images, name: str, factors) -> None:
    assert opened(archive, images, FIELDS | {name: factors}).decay_corrected is False
    stored = images * corrected(42.0, C11)
    fields = CORRECTED | {"ImageDecayCorrectionTime": 42.0, name: factors}
    scan = opened(archive, stored, fields)
    assert np.allclose(scan.read_slices(slice(0, 5)), images, rtol=1e-5)


OPTIONAL = [
    *("ScanStart", "InjectionStart", "RadionuclideHalfLife", "TracerRadionuclide", "BodyWeight"),
    *("PatientWeight", "InjectedRadioactivity", "InjectedRadioactivityUnits", "DecayFactor"),
    *("DecayCorrectionFactor", "ImageDecayCorrectionTime", "Units", "ImageDecayCorrected"),
]


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_is_not_available_counts_as_absent(archive, images, name: str) -> None:
    plan = {"units": "kBq/mL", "decay_corrected": False}
    for value in ("n/a", "N/A", ["n/a", "n/a"]):
        opened(archive, images, FIELDS | {name: value}, **plan)
    with pytest.raises(InputError, match="FrameDuration is missing"):
        opened(archive, images, FIELDS | {"FrameDuration": "n/a"})


@pytest.mark.parametrize(
    "name",
    ["ScanStart", "BodyWeight", "PatientWeight", "InjectedRadioactivity", "BodyWeightUnits"],
)
@pytest.mark.parametrize("value", ["about 70", [300, 200], {"kg": 70}, True, float("nan"), -1])
def test_fields_that_are_not_needed_refuse_no_scan(archive, images, name: str, value) -> None:
    said = {"InjectedRadioactivity": 3, "InjectedRadioactivityUnits": "MBq", "BodyWeight": 70}
    for kind in (SinglePlan, MixturePlan):
        scan = opened(archive, images, FIELDS | said | {name: value}, kind=kind)
        assert (scan.given == (None, 3.0)) is name.startswith("BodyWeight")


def test_one_of_two_tracers_may_be_unknown(archive, images) -> None:
    fields = {"TracerRadionuclide": ["n/a", "F18"], "InjectionStart": ["n/a", 1242.0]}
    scan = opened(archive, images, FIELDS | fields, kind=MixturePlan)
    assert scan.administered == ((None, None), (6588.0, 1242.0))


@pytest.mark.parametrize(("nuclide", "asked"), [("O15", False), ("N13", False), ("F18", True)])
def test_short_scans_of_short_lived_nuclides_are_not_in_minutes(
    archive, images, nuclide: str, asked: bool
) -> None:
    times = [40.0 + 20.0 * frame for frame in range(9)]
    frames = {"FrameTimesStart": times, "FrameDuration": [20.0] * 9}
    fields = FIELDS | frames | {"TracerRadionuclide": nuclide}
    images = np.repeat(images, 3, axis=1)
    if asked:
        with pytest.raises(InputError, match="not minutes, or unusual_times: yes"):
            opened(archive, images, fields)
    else:
        opened(archive, images, fields)


def test_frames_before_the_scan_are_refused_unless_the_plan_tells_the_clock(
    archive, images
) -> None:
    fields = FIELDS | {"ScanStart": 1840.0}
    with pytest.raises(
        InputError,
        match=r"here\.sidecar: frames begin before the scan; got FrameTimesStart 40 s and "
        "ScanStart 1840 s; .* try injection_time",
    ):
        opened(archive, images, fields)
    assert opened(archive, images, fields, injection_time=42.0).injection_time == 42.0
    late = CORRECTED | {"ScanStart": 1840.0, "ImageDecayCorrectionTime": 42.0}
    with pytest.raises(InputError, match="frames begin before the scan"):
        opened(archive, images, late, injection_time=42.0)
    opened(archive, images, late, injection_time=42.0, decay_reference=42.0)
    opened(archive, images, FIELDS | {"ScanStart": 40.9})


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("BQML", 1e-3), ("Bq/cc", 1e-3), ("kBq/cc", 1.0), ("KBQ/ML", 1.0), ("g/mL", None)],
)
def test_units_may_be_spelled_otherwise(archive, images, unit, scale) -> None:
    fields = CORRECTED | {"ImageDecayCorrectionTime": 42.0, "Units": unit}
    plan = {"weight_kg": 75.0, "dose_MBq": 300.0}
    scan = opened(archive, images * corrected(42.0, C11), fields, **plan)
    assert np.allclose(scan.read_slices(slice(0, 5)), images * (scale or 4.0), rtol=1e-5)


def test_an_unknown_unit_may_be_told_in_the_plan(archive, images) -> None:
    with pytest.raises(InputError, match=r"unknown unit; .*; try units: Bq/mL, kBq/mL or SUV, in"):
        opened(archive, images, FIELDS | {"Units": "MBq/mL"})


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error", "Jane.nii")])
def test_a_failure_that_passes_is_no_damage(archive, images, monkeypatch, error) -> None:
    scan = opened(archive, images)

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(nibabel.arrayproxy.ArrayProxy, "__getitem__", fail)
    with pytest.raises(RunError, match=r"here\.image cannot be read for now; got") as caught:
        scan.read_slices(slice(0, 5))
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "suffix", "message"),
    [
        ((12, 14, 3, 18), ".nii", r"here\.image is damaged; got a file of 356 bytes, whose header"),
        ((500, 500, 500, 18), ".nii.gz", r"here\.image is damaged; got a file of"),
        ((30_000, 30_000, 30_000, 18), ".nii", "size of a frame; got 30000 x 30000 x 30000"),
    ],
)
def test_a_header_that_promises_too_much_is_refused_at_once(
    archive, images, shape, suffix, message
) -> None:
    archive.sidecar("scan", FIELDS)
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float32)
    header.set_sform(np.diag([2.0, 3.0, 4.0, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    content = header.binaryblock + bytes(8)
    path = archive.folder / f"scan{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(InputError, match=message):
        open_nifti(SinglePlan(image=path.name), archive.folder, "here", None)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (1e-3, "here: frames; got a scan of 630000 s, 7.3 days; wanted at most 86400 s"),
        (60.0, "here: frames; got a scan of 10.5 s .*not minutes, or unusual_times: yes in the p"),
    ],
)
def test_a_frame_table_in_another_unit_is_refused(archive, images, unit, message) -> None:
    fields = FIELDS | {key: [time / unit for time in table] for key, table in FRAMES.items()}
    fields["InjectionStart"] /= unit
    with pytest.raises(InputError, match=message):
        opened(archive, images, fields)


def test_voxels_in_metres_or_centimetres_are_refused(archive, images) -> None:
    with pytest.raises(InputError, match=r"here\.image: voxel size; got 0\.004 mm; wanted 0.01 to"):
        opened(archive, images, voxel=[side / 1000 for side in VOXEL_MM])
    small = [side / 10 for side in VOXEL_MM]
    with pytest.raises(InputError, match=r"got 0\.3 mm; .*unusual_voxels: yes in the plan"):
        opened(archive, images, voxel=small)
    scan = opened(archive, images, voxel=small, unusual_voxels=True)
    assert scan.voxel_size == pytest.approx(small)
