"""The gate: what a separator must show before it becomes the champion.

Candidate and champion separate the same subjects of the store's ``gate`` split, which no training
and no search has read; they are compared subject by subject. Without a champion the opponent is
the floor, half of the mixture for each tracer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.config import STRICT, find_config, from_mapping, read_yaml
from dtsinn.core.errors import InputError, PackageError, RunError
from dtsinn.data.store import Store
from dtsinn.deploy.export import check_parity
from dtsinn.deploy.package import verify_package
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.metrics import Interval, bootstrap_interval
from dtsinn.evaluation.score import SubjectScore, halve, score_subjects
from dtsinn.registry.exactness import onnx_difference, round_trip_difference
from dtsinn.registry.gate_report import FLOOR, Check, GateReport

SPLIT = "gate"


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Limits of the gate."""

    __pydantic_config__ = STRICT

    min_subjects: int = 12
    """Subjects in the gate split, at least 2; fewer are no evidence."""
    confidence: float = 0.95
    """Of the bootstrap interval of the mean difference, which must lie above 0."""
    resamples: int = 2000
    """Draws of the bootstrap, at least 100."""
    seed: int = 0
    """Of the bootstrap."""
    tracer_loss_limit: float = 0.3
    """dB that either tracer may lose against the opponent, mean over subjects (uncited)."""
    region_loss_limit: float = 5.0
    """Percentage points by which a region's mean absolute bias may exceed the champion's
    (uncited)."""
    round_trip_limit: float = 1e-5
    """Relative error of mixing the separated tracers again."""
    onnx_parity_limit: float = 1e-5
    """Relative difference between ONNX Runtime and torch."""

    def __post_init__(self) -> None:
        if self.min_subjects < 2:
            raise InputError("gate.min_subjects", got=self.min_subjects, wanted="at least 2")
        if not 0.5 <= self.confidence < 1:
            raise InputError("gate.confidence", got=self.confidence, wanted="in [0.5, 1)")
        if self.resamples < 100:
            raise InputError("gate.resamples", got=self.resamples, wanted="at least 100")
        for name in ("tracer_loss_limit", "region_loss_limit"):
            if not getattr(self, name) >= 0:
                raise InputError(f"gate.{name}", got=getattr(self, name), wanted="at least 0")
        for name in ("round_trip_limit", "onnx_parity_limit"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"gate.{name}", got=getattr(self, name), wanted="in (0, 1)")


def load_gate(name_or_path: str = "default") -> GateConfig:
    """The shipped gate of that name, or a user's own YAML file.

    Raises:
        InputError: Neither exists, or it holds what no gate takes.
    """
    path = find_config("gates", name_or_path)
    return from_mapping(GateConfig, read_yaml(path), str(path))


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A separator at the gate."""

    ref: str
    """What people call it: ``NAME/3``."""
    path: Path
    separator: Separator

    @classmethod
    def load(cls, ref: str, path: Path) -> Contender:
        """Verify and load the package at ``path``."""
        return cls(ref=ref, path=path, separator=Separator.load(path))


def gate(
    candidate: Contender, champion: Contender | None, store: Store, config: GateConfig
) -> GateReport:
    """Compare a candidate with the champion (or the floor) on the store's gate subjects.

    Raises:
        StoreError: The store has no truth, or is damaged.
        RunError: The champion gives no finite answer.
    """
    against = champion.ref if champion else FLOOR
    checks = [_manifest(candidate), _lineage(candidate), _made_for(candidate, store)]
    if champion:
        reason = champion.separator.fits(store.header)
        name = "champion on this store"
        checks.append(Check(name=name, value=reason or "fits", limit="fits", passed=not reason))
    subjects = store.subject_count(SPLIT)
    checks.append(
        Check(
            name="evidence",
            value=f"{subjects} subjects",
            limit=f"at least {config.min_subjects}",
            passed=subjects >= config.min_subjects,
            detail="" if subjects else f"the store has no {SPLIT} subjects",
        )
    )
    scored: tuple[list[SubjectScore], list[SubjectScore]] | None = None
    if subjects and all(check.passed for check in checks if check.name != "evidence"):
        more, scored = _contest(candidate, champion, store, config)
        checks += more
    difference = _difference(*scored, config) if scored else None
    return GateReport(
        verdict="passed" if all(check.passed for check in checks) else "refused",
        candidate=candidate.ref,
        against=against,
        checks=tuple(checks),
        difference=difference,
        subjects=subjects,
        store_digest=store.header.digest,
        per_subject={
            ours.subject: (ours.mean_psnr, theirs.mean_psnr)
            for ours, theirs in zip(*scored, strict=True)
        }
        if scored
        else {},
    )


def _contest(
    candidate: Contender, champion: Contender | None, store: Store, config: GateConfig
) -> tuple[list[Check], tuple[list[SubjectScore], list[SubjectScore]] | None]:
    """The checks that need the images."""
    exactness = _Exactness(candidate)
    try:
        ours = score_subjects(exactness.separate, store, SPLIT)
    except RunError as error:
        failed = Check(name="answers", value=error.what, limit="finite numbers", passed=False)
        return [failed], None
    separate = champion.separator.for_protocol(store.header).separate if champion else halve
    theirs = score_subjects(separate, store, SPLIT)
    checks = [_better(_difference(ours, theirs, config))]
    for place, tracer in enumerate(store.header.tracers):
        checks.append(_tracer(tracer, place, ours, theirs, config))
    if champion:
        checks += _regions(ours, theirs, config)
    checks += exactness.checks(config)
    return checks, (ours, theirs)


class _Exactness:
    """Separates for the scores, and on the way measures round trip and ONNX parity."""

    def __init__(self, candidate: Contender) -> None:
        self.candidate = candidate
        self.round_trip = 0.0
        self.parity: float | None = None

    def separate(self, mixture_NTYX: NDArray[np.float32]) -> NDArray[np.float32]:
        separator = self.candidate.separator
        tracers_NKTYX = separator.separate(mixture_NTYX)
        if separator.network.exact:
            error = round_trip_difference(separator, mixture_NTYX, tracers_NKTYX)
            self.round_trip = max(self.round_trip, error)
        if self.parity is None:  # one subject is enough: the graph is the same for all
            path = self.candidate.path
            self.parity = onnx_difference(path, mixture_NTYX, tracers_NKTYX)
        return tracers_NKTYX

    def checks(self, config: GateConfig) -> list[Check]:
        exact = self.candidate.separator.network.exact
        round_trip = Check(
            name="round trip",
            value=self.round_trip if exact else "not applicable",
            limit=config.round_trip_limit,
            passed=not exact or self.round_trip <= config.round_trip_limit,
            detail="" if exact else "this network has no inverse",
        )
        return [round_trip, self._parity(config)]

    def _parity(self, config: GateConfig) -> Check:
        """On gate images, and of both graphs at the sizes that the export proves."""
        limit = config.onnx_parity_limit
        try:
            proof = check_parity(self.candidate.path)
        except RunError as error:
            return Check(name="ONNX parity", value=error.what, limit=limit, passed=False)
        worst = max(self.parity or 0.0, proof.model_error, proof.inverse_error or 0.0)
        return Check(name="ONNX parity", value=worst, limit=limit, passed=worst <= limit)


def _manifest(candidate: Contender) -> Check:
    try:
        verify_package(candidate.path)
    except PackageError as error:
        return Check(name="manifest", value=str(error), limit="all files match", passed=False)
    return Check(name="manifest", value="all files match", limit="all files match", passed=True)


def _lineage(candidate: Contender) -> Check:
    lineage = candidate.separator.info.lineage
    wanted = ("run", "config", "store_digest", "code_version", "seed")
    missing = [name for name in wanted if getattr(lineage, name) in (None, "", {})]
    return Check(
        name="lineage",
        value=f"without {', '.join(missing)}" if missing else "complete",
        limit="complete",
        passed=not missing,
    )


def _made_for(candidate: Contender, store: Store) -> Check:
    """Whether the store is of the tracer pair and protocol that the candidate was made for."""
    info, header = candidate.separator.info, store.header
    there = header.protocol
    reason = candidate.separator.fits(header)
    if not reason and info.tracers != header.tracers:
        reason = f"store has {', '.join(header.tracers)}, model {', '.join(info.tracers)}"
    if not reason and (info.frame_start, info.frame_duration, info.injection_time) != (
        there.frame_start,
        there.frame_duration,
        there.injection_time,
    ):
        reason = f"the frames of {there.name} in the store are not those of the model"
    return Check(name="store", value=reason or "fits", limit="fits", passed=not reason)


def _difference(
    ours: Sequence[SubjectScore], theirs: Sequence[SubjectScore], config: GateConfig
) -> Interval:
    return bootstrap_interval(
        [a.mean_psnr - b.mean_psnr for a, b in zip(ours, theirs, strict=True)],
        seed=config.seed,
        resamples=config.resamples,
        confidence=config.confidence,
    )


def _better(difference: Interval) -> Check:
    return Check(
        name="better",
        value=f"{difference.mean:+.3f} dB ({difference.low:+.3f} to {difference.high:+.3f})",
        limit="an interval above 0",
        passed=bool(difference.low > 0),
    )


def _tracer(
    tracer: str,
    place: int,
    ours: Sequence[SubjectScore],
    theirs: Sequence[SubjectScore],
    config: GateConfig,
) -> Check:
    gain = fmean(a.psnr[place] - b.psnr[place] for a, b in zip(ours, theirs, strict=True))
    return Check(
        name=f"tracer {tracer}",
        value=f"{gain:+.3f} dB",
        limit=f"at least {-config.tracer_loss_limit:+g} dB",
        passed=bool(gain >= -config.tracer_loss_limit),
    )


def _regions(
    ours: Sequence[SubjectScore], theirs: Sequence[SubjectScore], config: GateConfig
) -> list[Check]:
    """The region that lost most against the champion; no check where no region is known."""
    losses: dict[str, float] = {}
    for tracer in ours[0].regional_bias:
        pairs = [
            (a.regional_bias[tracer], b.regional_bias[tracer])
            for a, b in zip(ours, theirs, strict=True)
        ]
        for region in sorted({region for mine, _ in pairs for region in mine}):
            grown = [
                abs(a[region]) - abs(b[region]) for a, b in pairs if region in a and region in b
            ]
            if grown:
                losses[f"{region}, {tracer}"] = fmean(grown)
    if not losses:
        return []
    worst = max(losses, key=lambda name: losses[name])
    return [
        Check(
            name="regions",
            value=f"{losses[worst]:+.2f} points of bias",
            limit=f"at most {config.region_loss_limit:+g}",
            passed=bool(losses[worst] <= config.region_loss_limit),
            detail=worst,
        )
    ]
