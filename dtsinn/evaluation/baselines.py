"""Baselines: rivals of a separator that nobody trained, scored on the same subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dtsinn.core.config import to_mapping
from dtsinn.data.store import Samples, Store
from dtsinn.evaluation.score import Floats
from dtsinn.evaluation.spectral import lacks_inputs, spectral_separate, subject_inputs
from dtsinn.networks.config import SpectralConfig

SeparateSubject = Callable[[Samples], Floats]
"""All slices of one subject -> tracers [N, K, T, Y, X] in kBq/mL."""


class Baseline(Protocol):
    """A way to separate that may know more of a store than its mixtures."""

    @property
    def name(self) -> str:
        """As reports call it; no separator may have it."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides its answers, as plain data."""

    def fits(self, store: Store) -> str:
        """Why it cannot separate the subjects of ``store``, or "" if it can."""

    def on(self, store: Store) -> SeparateSubject:
        """It, ready for the subjects of a store that it fits; it must not look at the truth."""


@dataclass(frozen=True, kw_only=True)
class SpectralAnalysis:
    """The baseline that is told each subject's input functions."""

    config: SpectralConfig = field(default_factory=SpectralConfig)
    name: str = "spectral analysis"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The basis."""
        return to_mapping(self.config)

    def fits(self, store: Store) -> str:
        """Why not: the store has no input functions."""
        return lacks_inputs(store)

    def on(self, store: Store) -> SeparateSubject:
        """Spectral analysis with the inputs of ``store``."""
        inputs = subject_inputs(store)

        def separate(samples: Samples) -> Floats:
            known = inputs[str(samples.subject_N[0])]
            return spectral_separate(samples.mixture_NTYX, known, store.header, self.config)

        return separate


BASELINES: tuple[Baseline, ...] = (SpectralAnalysis(),)
"""All of them, as ``dtsinn evaluate --baselines`` scores them."""
