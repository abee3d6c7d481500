"""A digital dual-tracer scan that nothing of dtsinn had a part in: what a stranger would bring.

Own plasma curves, compartments, anatomy and writer, all in numpy and nibabel: an ellipsoid head
with white matter, a cold ventricle and a hot lesion in the patient's left front, 40 x 48 x 5 voxels
of 4 x 4 x 5 mm. Axes: X to the right, Y to the front, Z to the head (RAS); T frame, K tracer.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform

SHAPE = (40, 48, 5)
VOXEL_MM = (4.0, 4.0, 5.0)
ORIGIN_MM = (-77.0, -90.0, 3.0)
HALF_LIFE_S = (1224.0, 6588.0)
"""11C and 18F."""
INJECTED_S = (0.0, 1200.0)
P1 = [150.0] * 4 + [300.0] * 2 + [150.0] * 4 + [300.0] * 4 + [600.0] * 4
"""Durations of 18 frames; the second tracer comes with the seventh."""
FINE = [30.0] * 4 + [60.0] * 3 + [150.0] * 6 + [60.0] * 5 + [300.0] * 5 + [600.0] * 4 + [300.0]
"""28 frames that are no other protocol's: 85 min, an edge at 1200 s."""
REGIONS = {1: "grey", 2: "white", 3: "ventricle", 4: "lesion"}
_STEP_S = 1.0


@dataclass(frozen=True)
class Head:
    """One scan, kBq/mL present, frame-averaged."""

    mixture: np.ndarray
    """[X, Y, Z, T]"""
    tracers: np.ndarray
    """[K, X, Y, Z, T], without noise."""
    labels: np.ndarray
    """[X, Y, Z] of :data:`REGIONS`; 0 is air."""
    durations: tuple[float, ...]
    plasma: dict[str, np.ndarray]
    """``time_s`` and, of each tracer, the parent in plasma, kBq/mL present."""

    @property
    def starts(self) -> np.ndarray:
        """[T] s."""
        return np.concatenate([[0.0], np.cumsum(self.durations)[:-1]])


def make_head(seed: int = 0, durations: Sequence[float] = P1, noise: float = 0.25) -> Head:
    """One head; the seed draws its kinetics, doses, size, lesion and noise."""
    random = np.random.default_rng(seed)
    labels = _anatomy(random)
    time = np.arange(0.0, sum(durations), _STEP_S) + _STEP_S / 2
    plasma = {"time_s": time}
    curves = np.zeros((2, 5, len(durations)))
    for k, name in enumerate(("fmz", "fdg")):
        since = np.maximum(time - INJECTED_S[k], 0.0) / 60
        decay = np.exp2(-since * 60 / HALF_LIFE_S[k]) * (time > INJECTED_S[k])
        dose = random.uniform(0.7, 1.4)
        shape = 95 * since * np.exp(-2.6 * since) + 9 * (1 - np.exp(-3 * since)) * (
            0.7 * np.exp(-0.12 * since) + 0.3 * np.exp(-0.012 * since)
        )
        plasma[name] = dose * shape * decay
        for label in REGIONS:
            tissue = _tissue(k, label, random, dose * shape, since)
            curves[k, label] = _frame_means(tissue * decay, durations)
    tracers = curves[:, labels]
    blurred = np.stack([_blur(one) for one in tracers])
    clean = blurred.sum(axis=0)
    sd = noise * np.sqrt(np.maximum(clean, 0) * 60 / np.array(durations))
    noisy = clean + _blur(random.normal(size=clean.shape)) * sd
    return Head(
        mixture=noisy, tracers=blurred, labels=labels, durations=tuple(durations), plasma=plasma
    )


def decay_factors(head: Head, half_life: float, reference: float) -> np.ndarray:
    """[T] by what a scanner would multiply, by quadrature."""
    factors = []
    for start, seconds in zip(head.starts, head.durations, strict=True):
        time = start + seconds * (np.arange(4000) + 0.5) / 4000
        factors.append(1 / np.mean(np.exp2(-(time - reference) / half_life)))
    return np.array(factors)


def write_scan(
    folder: Path,
    head: Head,
    name: str = "sub-07_pet",
    *,
    axes: str = "RAS",
    units: str = "Bq/mL",
    corrected: bool = False,
    suffix: str = ".nii.gz",
    dtype: str = "float32",
    fields: Mapping[str, Any] | None = None,
    images: np.ndarray | None = None,
) -> Path:
    """Write the mixture, or other images of its shape, as NIfTI with a PET-BIDS sidecar.

    ``corrected``: as a scanner does that knows of 11C alone.
    """
    stored = (head.mixture if images is None else images) * (1000.0 if units == "Bq/mL" else 1.0)
    if corrected:
        stored = stored * decay_factors(head, HALF_LIFE_S[0], INJECTED_S[0])
    path = folder / f"{name}{suffix}"
    image = nibabel.Nifti1Image(stored.astype(np.float32), affine())
    image = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes)))
    image.header.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    said = {
        "TracerName": ["FMZ", "FDG"],
        "TracerRadionuclide": ["C11", "F18"],
        "InjectedRadioactivity": [500, 200],
        "InjectedRadioactivityUnits": "MBq",
        "InjectionStart": list(INJECTED_S),
        "TimeZero": "09:30:00",
        "ScanStart": 0,
        "FrameTimesStart": head.starts.tolist(),
        "FrameDuration": list(head.durations),
        "Units": units,
        "ImageDecayCorrected": corrected,
        **({"ImageDecayCorrectionTime": INJECTED_S[0], "RadionuclideHalfLife": HALF_LIFE_S[0]}
           if corrected else {}),
    }  # fmt: skip
    sidecar = said | dict(fields or {})
    kept = {key: value for key, value in sidecar.items() if value is not None}
    path.with_name(f"{name}.json").write_text(json.dumps(kept))
    return path


def write_labels(folder: Path, head: Head, axes: str = "RAS") -> Path:
    """Write the regions and their names."""
    image = nibabel.Nifti1Image(head.labels.astype(np.uint8), affine())
    image = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes)))
    path = folder / "sub-07_dseg.nii.gz"
    nibabel.save(image, path)
    rows = "".join(f"{label}\t{name}\n" for label, name in REGIONS.items())
    (folder / "sub-07_dseg.tsv").write_text(f"index\tname\n{rows}")
    return path


def load(path: Path) -> Any:
    """A NIfTI image."""
    return nibabel.load(path)


def affine() -> np.ndarray:
    """Of the RAS grid."""
    matrix = np.diag([*VOXEL_MM, 1.0])
    matrix[:3, 3] = ORIGIN_MM
    return matrix


def _anatomy(random: np.random.Generator) -> np.ndarray:
    x, y, z = (
        np.arange(count).reshape([-1 if axis == place else 1 for place in range(3)]) * mm + origin
        for axis, (count, mm, origin) in enumerate(zip(SHAPE, VOXEL_MM, ORIGIN_MM, strict=True))
    )
    size = random.uniform(0.92, 1.05)

    def ellipsoid(centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
        parts = zip((x, y, z), centre, radii, strict=True)
        return sum(((at - middle) / (size * r)) ** 2 for at, middle, r in parts) < 1  # type: ignore[no-any-return]

    labels = np.zeros(SHAPE, np.intp)
    labels[ellipsoid((0, 4, 10), (64, 80, 60))] = 1
    labels[ellipsoid((0, 4, 10), (46, 60, 45))] = 2
    labels[ellipsoid((0, 0, 10), (9, 22, 16))] = 3
    labels[ellipsoid((-30 + random.uniform(-4, 4), 34, 10), (13, 13, 13))] = 4
    return labels


def _tissue(
    k: int, label: int, random: np.random.Generator, plasma: np.ndarray, minutes: np.ndarray
) -> np.ndarray:
    """Decay-corrected activity on the fine grid."""
    spread = random.uniform(0.85, 1.15, 3)
    table = (
        {1: (0.30, 0.055), 2: (0.11, 0.10), 3: (0.01, 0.05), 4: (0.22, 0.12)},
        {1: (0.15, 0.18, 0.10), 2: (0.09, 0.15, 0.04), 3: (0.005, 0.05, 0.0), 4: (0.2, 0.2, 0.2)},
    )[k]
    K1, k2, *k3 = np.array(table[label]) * spread[: len(table[label])]
    step = _STEP_S / 60
    free, bound = np.zeros_like(plasma), np.zeros_like(plasma)
    trapping = k3[0] if k3 else 0.0
    for i in range(1, len(plasma)):
        free[i] = free[i - 1] + step * (K1 * plasma[i - 1] - (k2 + trapping) * free[i - 1])
        bound[i] = bound[i - 1] + step * trapping * free[i - 1]
    return 0.95 * (free + bound) + 0.05 * plasma


def _frame_means(values: np.ndarray, durations: Sequence[float]) -> np.ndarray:
    edges = np.rint(np.concatenate([[0.0], np.cumsum(durations)]) / _STEP_S).astype(int)
    return np.array([values[a:b].mean() for a, b in itertools.pairwise(edges)])


def _blur(image: np.ndarray) -> np.ndarray:
    """A small kernel along x and y."""
    for axis in (0, 1):
        image = 0.5 * image + 0.25 * (np.roll(image, 1, axis) + np.roll(image, -1, axis))
    return image
