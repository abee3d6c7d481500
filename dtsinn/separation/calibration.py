"""Calibration: what a model does on subjects of its own population that nothing else has used.

It is made once per model, travels in the package as ``calibration.json``, and gives a scan its
verdict on the population (:mod:`.population`) and its read-outs their intervals
(:mod:`.intervals`). Subjects are measured as scans are: by the same sums of whole scans.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import parse_json
from dtsinn.core.causes import in_our_words
from dtsinn.core.config import STRICT, from_mapping, to_mapping
from dtsinn.core.errors import PackageError, naming
from dtsinn.core.formats import CALIBRATION
from dtsinn.core.progress import no_progress
from dtsinn.core.seeds import generator
from dtsinn.data.inputs import SubjectInputs
from dtsinn.separation.inputs import Inputs
from dtsinn.separation.intervals import (
    Errors,
    Intervals,
    fit_intervals,
    measure_errors,
    section_classes,
)
from dtsinn.separation.look import look_at
from dtsinn.separation.model import Model
from dtsinn.separation.population import Features, Population, fit_population
from dtsinn.separation.regions import Rois, rois_of_body
from dtsinn.separation.run import sum_up
from dtsinn.separation.tables import read_curves
from dtsinn.separation.verdict import features_of

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The content of ``calibration.json``."""

    __pydantic_config__ = STRICT

    format: str = CALIBRATION.name
    format_version: int = CALIBRATION.version
    digest: str
    """Of the model that was calibrated."""
    subjects: int
    source: str
    """What they are, in words."""
    population: Population
    intervals: Intervals


@dataclass(frozen=True, kw_only=True, repr=False)
class CalibrationSubject:
    """A subject with truth.

    Attributes:
        name: In its study.
        mixture_STYX: kBq/mL.
        truth_SKTYX: Both tracers, kBq/mL.
        labels_SYX: Regions; None where they are not known.
        region_names: Of the labels.
        voxel_mm: Along y and x.
        inputs: Input functions, where they are known.
    """

    name: str
    mixture_STYX: Float32Array
    truth_SKTYX: Float32Array
    labels_SYX: npt.NDArray[np.uint8] | None
    region_names: tuple[str, ...]
    voxel_mm: tuple[float, float]
    inputs: SubjectInputs | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a calibration keeps of a subject.

    Attributes:
        features: Without truth.
        errors: Against it.
    """

    features: Features
    errors: Errors


def measure_subject(model: Model, subject: CalibrationSubject) -> Measured:
    """Separate a subject as a scan is, and hold the answer against the truth.

    Raises:
        InputError: It is no activity.
        RunError: The model fails.
    """
    facts, protocol = model.facts, model.facts.timing
    mixture_STYX = subject.mixture_STYX
    level_SYX = look_at(
        lambda which: mixture_STYX[which],
        len(mixture_STYX),
        protocol,
        frozenset({"unusual_activity"}),
        no_progress,
        nan_is_air=False,
    ).level_SYX
    answer_SKTYX = model.separate(mixture_STYX)
    rois = [rois_of_body(level_SYX > 0)]
    if subject.labels_SYX is not None and subject.labels_SYX.any():
        labels_SYX, names = subject.labels_SYX, subject.region_names
        rois.append(Rois(labels_SYX=labels_SYX, names=names, given=True))
    errors = Errors()
    rng = generator("calibrate", subject.name)
    for own in rois:
        found, true = (
            sum_up(mixture_STYX, images, level_SYX, own.labels_SYX)
            for images in (answer_SKTYX, subject.truth_SKTYX)
        )
        inputs = _inputs_of(subject.inputs, facts.tracers, protocol.injection_time)
        about = (own, facts.tracers, facts.half_life, protocol, 1.0, inputs)
        classes = section_classes(found.sections(subject.voxel_mm), given=own.given)
        curves = read_curves(found, *about), read_curves(true, *about)
        errors.add(measure_errors(*curves, classes, rng))
    return Measured(features=features_of(found, protocol, facts), errors=errors)


def fit_calibration(digest: str, source: str, subjects: Sequence[Measured]) -> Calibration:
    """The calibration of the model ``digest``.

    Args:
        digest: Of the model.
        source: What the subjects are, in words.
        subjects: In an order that tells nothing of them.

    Raises:
        InputError: They are too few.
    """
    return Calibration(
        digest=digest,
        subjects=len(subjects),
        source=source,
        population=fit_population([one.features for one in subjects]),
        intervals=fit_intervals([one.errors for one in subjects]),
    )


def calibration_text(calibration: Calibration) -> str:
    """The text of ``calibration.json``."""
    return json.dumps(to_mapping(calibration), sort_keys=True, allow_nan=False) + "\n"


def read_calibration(text: bytes, digest: str, where: str) -> Calibration:
    """The calibration that the file ``where`` holds.

    Args:
        text: Its content.
        digest: Of the model.
        where: For errors.

    Raises:
        PackageError: It is no such file, of a newer format, or of another model.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise in_our_words(error, f"{where} cannot be read as JSON", PackageError) from None
    if not isinstance(content, dict):
        raise PackageError(where, got=type(content).__name__, wanted="a JSON object")
    with naming(where, PackageError):
        content = CALIBRATION.read(content, where, PackageError)
        calibration = from_mapping(Calibration, content, where)
    if calibration.digest != digest:
        got, wanted = calibration.digest[:12], digest[:12]
        raise PackageError(f"{where} is of another model", got=got, wanted=wanted)
    return calibration


def _inputs_of(
    inputs: SubjectInputs | None, tracers: tuple[str, str], injections: tuple[float, ...]
) -> Inputs | None:
    """Input functions from each injection on."""
    if inputs is None:
        return None
    curves = {}
    for name, time, plasma_I in zip(tracers, injections, inputs.plasma_KI, strict=True):
        after_I = inputs.time_I > time
        since_I = np.concatenate([[0.0], inputs.time_I[after_I] - time])
        curves[name] = (since_I, np.concatenate([[0.0], plasma_I[after_I]]))
    return Inputs(curves=curves)
