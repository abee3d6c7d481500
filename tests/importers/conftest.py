"""Scans as a hospital would hand them over, made with nibabel from simulated subjects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from nibabel.orientations import axcodes2ornt, ornt_transform

from dtsinn.core.tracer import load_tracer
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import StudyRequest

VOXEL_MM = (4.0, 3.0, 2.0)
"""Along z, y and x."""
ORIGIN_MM = (-20.0, -35.0, 12.0)
"""Centre of the voxel that lies farthest left, back and down."""
INJECTED_S = 7.0
"""Of every single-tracer scan, on its clock: no frame edge, as in life."""
FRAME_S = 30.0
FRAMES = 185
"""5550 s: enough for p1 after the injection."""
SUBJECTS, SLICES, SIZE = 3, 4, 16


@dataclass(frozen=True)
class Simulated:
    """One subject, seen by a scanner twice (a tracer at a time) and once (both, by protocol p1)."""

    single_KSTYX: np.ndarray
    """Each tracer alone in frames of 30 s, injected at 7 s; kBq/mL present, no noise."""
    direct_SKTYX: np.ndarray
    """Both as p1 would see them."""


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> list[Simulated]:
    """Subjects whose single-tracer scans and p1 scans are of the same anatomy and kinetics."""
    fine = tmp_path_factory.mktemp("protocols") / "fine.yaml"
    fine.write_text(
        "name: fine\ndescription: fine\nsource: uncited\n"
        f"injections: [{INJECTED_S}, {INJECTED_S}]\nframes: [[{FRAMES}, {FRAME_S}]]\n"
    )
    sizes = {"subjects": SUBJECTS, "slices": SLICES, "size": SIZE, "seed": 3}
    subjects = []
    for index in range(SUBJECTS):
        alone = render_subject(StudyRequest(protocol=str(fine), **sizes), index).tracers
        direct = render_subject(StudyRequest(protocol="p1", **sizes), index).tracers
        subjects.append(Simulated(single_KSTYX=alone.swapaxes(0, 1), direct_SKTYX=direct))
    return subjects


def frame_table() -> dict[str, list[float]]:
    """Of a single-tracer scan, as PET-BIDS fields."""
    start = [FRAME_S * frame for frame in range(FRAMES)]
    return {"FrameTimesStart": start, "FrameDuration": [FRAME_S] * FRAMES}


def decay_factors(fields: Mapping[str, Any], half_life: float) -> np.ndarray:
    """[T] by what a scanner multiplies, by quadrature: no formula of dtsinn is used."""
    reference = fields["ImageDecayCorrectionTime"]
    factors = []
    for start, seconds in zip(fields["FrameTimesStart"], fields["FrameDuration"], strict=True):
        time = start + seconds * (np.arange(2000) + 0.5) / 2000
        factors.append(1.0 / np.mean(np.exp2(-(time - reference) / half_life)))
    return np.array(factors)


class Archive:
    """A folder of scans, and a plan of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sidecar(self, name: str, fields: Mapping[str, Any]) -> Path:
        """Write ``name.json``."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(fields))
        return path

    def image(
        self,
        name: str,
        images_STYX: np.ndarray,
        *,
        axes: str = "RAS",
        suffix: str = ".nii.gz",
        origin: Sequence[float] = ORIGIN_MM,
        voxel: Sequence[float] = VOXEL_MM,
        edit: Callable[[Any], None] | None = None,
    ) -> Path:
        """Write ``name.nii.gz``.

        Args:
            name: Of the file.
            images_STYX: In the store's orientation.
            axes: To which the file's axes run.
            suffix: ``.nii`` or ``.nii.gz``.
            origin: Of the voxel farthest left, back and down, mm.
            voxel: Along z, y and x, mm.
            edit: Changes the image before it is saved.
        """
        ras_XYZT = images_STYX[:, :, ::-1].transpose(3, 2, 0, 1)
        affine = np.diag([*voxel[::-1], 1.0])
        affine[:3, 3] = origin
        image = nibabel.Nifti1Image(ras_XYZT.astype(np.float32), affine)
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
        image = image.as_reoriented(turn)
        image.header.set_xyzt_units("mm", "sec")
        if edit is not None:
            edit(image)
        path = self.folder / f"{name}{suffix}"
        nibabel.save(image, path)
        return path

    def single(
        self,
        name: str,
        tracer: str,
        images_STYX: np.ndarray,
        fields: Mapping[str, Any] | None = None,
        **image: Any,
    ) -> str:
        """Write one tracer's scan as scanners do: Bq/mL, decay-corrected to the injection.

        Args:
            name: Of the files.
            tracer: Its name.
            images_STYX: kBq/mL present.
            fields: Of the sidecar, instead of the usual ones.
            image: As :meth:`image`.

        Returns:
            The image's name, for the plan.
        """
        half_life = load_tracer(tracer).half_life
        said = {
            "TracerName": tracer,
            "TracerRadionuclide": {"fmz": "C11", "fdg": "F18"}[tracer],
            "TimeZero": "10:11:12",
            "InjectionStart": INJECTED_S,
            **frame_table(),
            "ImageDecayCorrected": True,
            "ImageDecayCorrectionTime": INJECTED_S,
            "Units": "Bq/mL",
        }
        stored = images_STYX * 1000.0 * decay_factors(said, half_life)[:, None, None]
        self.sidecar(name, said | dict(fields or {}))
        return self.image(name, stored, **image).name

    def plan(self, content: Mapping[str, Any] | str, name: str = "plan.yaml") -> Path:
        """Write a plan."""
        path = self.folder / name
        path.write_text(
            content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False)
        )
        return path

    def pairs(self, subjects: Sequence[Simulated], names: Sequence[str] = ()) -> dict[str, Any]:
        """Write pairs of scans; the plan is handed back to be written."""
        names = names or [f"person-{number}" for number in range(len(subjects))]
        entries = []
        for name, subject in zip(names, subjects, strict=True):
            scans = {
                place: {"image": self.single(f"{name}-{tracer}", tracer, subject.single_KSTYX[k])}
                for k, (place, tracer) in enumerate([("first", "fmz"), ("second", "fdg")])
            }
            entries.append({"id": name, **scans})
        return {"tracers": ["fmz", "fdg"], "protocol": "p1", "subjects": entries}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    folder = tmp_path / "archive"
    folder.mkdir()
    return Archive(folder)


@pytest.fixture
def study(archive: Archive, simulated: list[Simulated]) -> tuple[Archive, dict[str, Any]]:
    """Pairs of scans of all simulated subjects, and their plan, not yet written."""
    return archive, archive.pairs(simulated)
