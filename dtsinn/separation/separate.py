"""``dtsinn separate``: a scan in, two scans out, and an honest word about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from dtsinn.core.atomic import fresh_folder
from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.paths import home_path
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.protocol import Protocol, protocol_of_frames
from dtsinn.deploy.facts import SeparatorFacts
from dtsinn.deploy.manifest import CALIBRATION_NAME
from dtsinn.importers.frames import Frames
from dtsinn.importers.mixture_frames import FrameFit, fit_frames
from dtsinn.separation.bids import (
    Names,
    correction_factors,
    residual_sidecar,
    tracer_sidecar,
    write_dataset,
    write_sidecar,
)
from dtsinn.separation.calibration import Calibration, read_calibration
from dtsinn.separation.images import Image
from dtsinn.separation.inputs import Inputs, read_inputs, refuse_other_units
from dtsinn.separation.intervals import add_intervals, section_classes
from dtsinn.separation.look import Body, look_at
from dtsinn.separation.model import Model, open_model
from dtsinn.separation.page import render
from dtsinn.separation.regions import Rois, open_rois, rois_of_body
from dtsinn.separation.run import Totals, separate_slices
from dtsinn.separation.scan import WHERE, Mixture, Request, open_mixture
from dtsinn.separation.tables import TracerCurves, read_curves, write_tables
from dtsinn.separation.verdict import (
    Verdict,
    judge,
    known_tracer,
    refuse_other_nuclides,
    told_injections,
)

FORMAT = {"format": "dtsinn-separation", "format_version": 1}
"""Of ``verdict.json``."""
LEAST_SIZE = 4
"""Fewest rows or columns that a model takes."""


class Options(TypedDict, total=False):
    """What a separation can be told; see :func:`separate_scan`."""

    injections: tuple[float, float] | None
    subject: str
    rois: Path | str | None
    input: Path | str | None
    decay_correct: bool
    resample: bool
    nan_is_air: bool
    device: str
    accept: str
    calibration: Calibration | str | Callable[[], Calibration | str] | None
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Separation:
    """A separated scan.

    Attributes:
        folder: Where everything lies.
        tracers: Tracer -> its images, kBq/mL or Bq/mL as the scan is.
        residual: The mixture less their sum.
        verdict: Whether the model knows such scans.
        curves: Of both tracers, and what was read from them.
    """

    folder: Path
    tracers: dict[str, Path]
    residual: Path
    verdict: Verdict
    curves: tuple[TracerCurves, ...]


def separate_scan(
    scan: str | Path, package: Path, out: str | Path, *, name: str = "", **options: Unpack[Options]
) -> Separation:
    """Separate a scan of two tracers, and judge the answer.

    Args:
        scan: A NIfTI file, DICOM folder, import plan, store, ``.npy`` or ``.mat`` file.
        package: The model's package.
        out: The folder to write, which appears whole or not at all; it must not exist.
        name: What the user calls the model.
        options: ``injections``, s on the scan's clock, where the scan does not say them;
            ``subject`` of a plan or store; ``rois``, a label image; ``input``, a table of input
            functions; ``decay_correct`` the outputs, each to its tracer's injection; ``resample``
            other frames than the model's; ``nan_is_air``: NaN outside the body counts as 0;
            ``device``, ``cpu`` or ``cuda``; ``accept``, why a scan outside is taken all the same;
            ``calibration``, by default the package's, or why none is used, or what makes it once
            the scan is known to fit; ``progress``.

    Raises:
        InputError: The scan, the model or an option does not fit; nothing is written.
        RunError: Something failed while it ran; nothing stays.
    """
    folder = home_path(out)
    if folder.exists():
        raise InputError(f"{folder} exists already", hint="another --out")
    model = open_model(package, name, options.get("device", "cpu"))
    request = Request(injections=options.get("injections"), subject=options.get("subject", ""))
    mixture = open_mixture(str(scan), request)
    job = _plan_job(mixture, model, options)
    try:
        with fresh_folder(folder) as partial:
            return job.run(partial, folder)
    except OSError as error:
        raise in_our_words(error, f"{folder} cannot be written", RunError) from error


@dataclass(frozen=True, kw_only=True, repr=False)
class _Job:
    """A separation, all of whose inputs are checked as far as headers tell."""

    mixture: Mixture
    model: Model
    fit: FrameFit
    protocol: Protocol
    rois: Rois | None
    inputs: Inputs | None
    names: Names
    decay_correct: bool
    nan_is_air: bool
    accept: str
    calibration: Calibration | str
    progress: Progress

    def run(self, partial: Path, folder: Path) -> Separation:
        """Write everything into ``partial``, which will be called ``folder``."""
        read_slices = self.mixture.unpack(partial).read_slices

        def read(which: slice) -> npt.NDArray[Any]:
            return self.fit.apply(read_slices(which))

        body = look_at(
            read,
            self.mixture.scan.size[0],
            self.protocol,
            self.mixture.accepted,
            self.progress,
            nan_is_air=self.nan_is_air,
        )
        if self.inputs is not None:
            refuse_other_units(self.inputs, body.mean_T, self.protocol)
        rois = self.rois or rois_of_body(body.inside_SYX)

        def read_filled(which: slice) -> npt.NDArray[Any]:
            images = read(which)
            return np.nan_to_num(images, copy=False) if body.nan_voxels else images

        frames, space = self.protocol.frames, self.mixture.space
        tracers = [Image(partial / f".tracer-{k}", space, frames) for k in (0, 1)]
        residual = Image(partial / ".residual", space, frames)
        totals = separate_slices(
            read_filled,
            self.model.separate,
            tracers,
            residual,
            body.level_SYX,
            rois.labels_SYX,
            self.progress,
        )
        (partial / ".scan.nii").unlink(missing_ok=True)
        known = self.calibration
        verdict = judge(
            self.mixture,
            self.facts,
            self.fit,
            self.protocol,
            totals,
            population=known if isinstance(known, str) else known.population,
            accepted=self.accept,
        )
        curves = self._write_tables(partial, totals, rois, verdict)
        self._write_page(partial, tracers, residual, body, verdict, totals, rois, curves)
        paths = self._write_images(partial, tracers, residual, verdict)
        self._write_verdict(partial, verdict)
        return Separation(
            folder=folder,
            tracers=dict(
                zip(self.facts.tracers, (folder / path for path in paths[:2]), strict=True)
            ),
            residual=folder / paths[2],
            verdict=verdict,
            curves=tuple(curves),
        )

    @property
    def facts(self) -> SeparatorFacts:
        """What the model separates."""
        return self.model.facts

    def _write_tables(
        self, partial: Path, totals: Totals, rois: Rois, verdict: Verdict
    ) -> list[TracerCurves]:
        place = partial / self.names.folder
        place.mkdir(parents=True)
        volume = float(np.prod(self.mixture.scan.voxel_size))
        facts = self.facts
        curves = read_curves(
            totals, rois, facts.tracers, facts.half_life, self.protocol, volume, self.inputs
        )
        if verdict.inside and not isinstance(self.calibration, str):
            _, y, x = self.mixture.scan.voxel_size
            classes = section_classes(totals.sections((y, x)), given=rois.given)
            curves = add_intervals(curves, self.calibration.intervals, classes)
        write_tables(curves, place, self.names.tracers)
        return curves

    def _write_page(
        self,
        partial: Path,
        tracers: list[Image],
        residual: Image,
        body: Body,
        verdict: Verdict,
        totals: Totals,
        rois: Rois,
        curves: list[TracerCurves],
    ) -> None:
        fullest = int(body.inside_SYX.sum(axis=(1, 2)).argmax())
        which = slice(fullest, fullest + 1)
        answer_KTYX = np.stack([image.read(which)[0] for image in tracers])
        mixture_TYX = answer_KTYX.sum(axis=0) + residual.read(which)[0]
        level = self.mixture.scan.slice_position[fullest]
        page = render(
            mixture=self.mixture,
            model=self.model,
            verdict=verdict,
            protocol=self.protocol,
            totals=totals,
            rois=rois,
            curves=curves,
            images_3TYX=np.concatenate([mixture_TYX[None], answer_KTYX]),
            body_YX=body.inside_SYX[fullest],
            factor_KT=np.stack([self._factors(k) for k in (0, 1)]),
            calibration=self.calibration,
            shown=f"Slice {fullest + 1} of {len(body.inside_SYX)} from the feet, at {level:.4g} mm",
        )
        (partial / "report.html").write_text(page, encoding="utf-8")

    def _write_images(
        self, partial: Path, tracers: list[Image], residual: Image, verdict: Verdict
    ) -> list[Path]:
        """Where the images of both tracers and the residual lie, in the output folder."""
        mixture, begin = self.mixture, self.fit.begin
        unit = 1e-3 if mixture.units == "Bq/mL" else 1.0
        stems = [f"{stem}_pet" for stem in (*self.names.tracers, f"{self.names.residual}")]
        marked = {
            "GeneratedFrom": f"a mixture of {' and '.join(self.facts.tracers)}, separated",
            "ModelDigest": self.model.digest,
            "Verdict": verdict.text,
            **({"VerdictAccepted": self.accept} if self.accept else {}),
        }
        paths = [self.names.folder / f"{stem}.nii.gz" for stem in stems]

        def write(k: int, image: Image) -> None:
            factor_T = self._factors(k) if k < 2 and self.decay_correct else None
            image.write(
                partial / paths[k],
                unit=unit,
                factor_T=np.ones(self.protocol.frames) if factor_T is None else factor_T,
                whole_numbers=mixture.whole_numbers,
            )
            about, fields = (self.facts, self.protocol), mixture.fields
            content = (
                tracer_sidecar(*about, k, begin, mixture.units, factor_T, fields)
                if k < 2
                else residual_sidecar(*about, begin, mixture.units, fields)
            )
            write_sidecar(partial / self.names.folder / f"{stems[k]}.json", content | marked)

        with ThreadPoolExecutor(len(stems)) as pool:  # zlib works while others do
            jobs = [pool.submit(write, k, image) for k, image in enumerate([*tracers, residual])]
            for done, job in enumerate(jobs):
                self.progress("writing images", done, len(stems))
                job.result()
        self.progress("writing images", len(stems), len(stems))
        return paths

    def _write_verdict(self, partial: Path, verdict: Verdict) -> None:
        model = {"name": self.model.name, "digest": self.model.digest}
        if not isinstance(self.calibration, str):
            model["calibration"] = self.calibration.source
        write_sidecar(partial / "verdict.json", FORMAT | verdict.to_json() | {"model": model})
        write_dataset(partial, self.model.name, self.model.digest, verdict.text, self.accept)

    def _factors(self, tracer: int) -> npt.NDArray[np.float64]:
        return correction_factors(self.protocol, tracer, self.facts.half_life[tracer])


def _plan_job(mixture: Mixture, model: Model, options: Options) -> _Job:
    """Check that the scan, the model and the options fit.

    Raises:
        InputError: They do not.
    """
    facts, scan = model.facts, mixture.scan
    _refuse_other_pair(mixture, facts)
    if min(scan.size[1:]) < LEAST_SIZE:
        raise InputError(
            f"{WHERE}: slices", got=f"{scan.size[1]}x{scan.size[2]} voxels", wanted="4x4 or more"
        )
    frames = Frames(start=scan.frame_start, duration=scan.frame_duration)
    fit = fit_frames(
        frames,
        facts.timing,
        facts.half_life,
        where=WHERE,
        whose="the model",
        resampling="" if options.get("resample", False) else "--resample",
    )
    injections = [round(time, 6) for time in told_injections(mixture, fit, facts)]
    with _of_the_scan(facts.protocol):
        protocol = protocol_of_frames(
            facts.protocol, facts.frame_start, facts.frame_duration, injections
        )
    rois, table = options.get("rois"), options.get("input")
    return _Job(
        mixture=mixture,
        model=model,
        fit=fit,
        protocol=protocol,
        rois=open_rois(mixture, None if rois is None else home_path(rois)),
        inputs=None
        if table is None
        else read_inputs(home_path(table), facts.tracers, fit.begin, protocol),
        names=Names(mixture.entities, facts.tracers),
        decay_correct=options.get("decay_correct", False),
        nan_is_air=options.get("nan_is_air", False),
        accept=options.get("accept", ""),
        calibration=_calibration_of(model, options.get("calibration")),
        progress=options.get("progress", no_progress),
    )


@contextmanager
def _of_the_scan(protocol: str) -> Iterator[None]:
    """What is wrong with times on a model's frames is the scan's."""
    try:
        yield
    except InputError as error:
        what = error.what.replace(f"protocol {protocol!r}", WHERE)
        wanted = f"{error.wanted}, counted from the start of its first frame"
        raise InputError(what, got=error.got, wanted=wanted, hint="--injections") from None


def _calibration_of(
    model: Model, given: Calibration | str | Callable[[], Calibration | str] | None
) -> Calibration | str:
    """The calibration that is given, else the package's, else why there is none."""
    if callable(given):
        return given()
    if given is not None:
        return given
    if model.calibration is None:
        return "the package has none"
    return read_calibration(model.calibration, model.digest, f"{model.name}: {CALIBRATION_NAME}")


def _refuse_other_pair(mixture: Mixture, facts: SeparatorFacts) -> None:
    """Refuse a scan that says that it is of other tracers, or nuclides, than the model's."""
    wanted = " then ".join(facts.tracers)
    names = [known_tracer(name, facts.tracers) for name in mixture.tracers]
    others = [name for name in names if name is not None and name not in facts.tracers]
    turned = names == list(facts.tracers)[::-1]
    if others or turned:
        raise InputError(
            f"{WHERE} is of another pair of tracers",
            got=" then ".join(name or "?" for name in names),
            wanted=f"{wanted}, as the model separates",
            hint="dtsinn models, for one of this pair",
        )
    why = refuse_other_nuclides(mixture.half_lives, facts.half_life)
    if why:
        raise InputError(
            f"{WHERE}: {why}",
            got=" and ".join(f"{seconds:g} s" for seconds in mixture.half_lives),
            wanted=f"{' and '.join(f'{seconds:g} s' for seconds in facts.half_life)}, of {wanted}",
            hint="dtsinn models, for one of this pair",
        )
