"""Curves whose kinetics are known: a drawn input function through compartment models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dtsinn.core.protocol import Protocol, protocol_of_frames
from dtsinn.core.tracer import load_tracer
from dtsinn.data.store import Samples, Store, open_store
from dtsinn.kinetics.curves import FloatArray, TracerFrames, tracer_frames
from dtsinn.simulation.input_function import plasma_and_blood
from dtsinn.simulation.kinetics import frame_averages
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study

INJECTION_S = 300.0
DURATIONS = [300.0] + [10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 4 + [600.0] * 5
"""A scan of which the tracer is injected at the end of the first frame."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Curves of one tracer, and what they were made with."""

    frames: TracerFrames
    time_I: FloatArray
    """s after the injection."""
    plasma_SI: FloatArray
    blood_SI: FloatArray

    def curves(self, kinetics_RP: FloatArray) -> FloatArray:
        """[S, R, T] frame averages of activity present, kBq/mL."""
        decay = np.log(2.0) / self.frames.half_life
        kinetics = np.broadcast_to(kinetics_RP, (len(self.plasma_SI), *kinetics_RP.shape))
        edges = self.frames.edge_T
        return frame_averages(kinetics, self.time_I, self.plasma_SI, self.blood_SI, decay, edges)

    def corrected(self, kinetics_RP: FloatArray) -> FloatArray:
        """[S, R, T] the same, decay-corrected to the injection."""
        return self.curves(kinetics_RP) * self.frames.correction_T


@pytest.fixture(scope="session")
def scan() -> Protocol:
    starts = np.cumsum([0.0, *DURATIONS])[:-1]
    return protocol_of_frames("early", starts.tolist(), DURATIONS, [0.0, INJECTION_S])


@pytest.fixture(scope="session", params=["fmz", "fdg"])
def known(request: pytest.FixtureRequest, scan: Protocol) -> Known:
    """Two subjects' inputs, the second twice the first and later."""
    tracer = load_tracer(request.param)
    frames = tracer_frames(scan, 1, tracer.half_life)
    fine = np.concatenate([np.arange(0.0, 120.0, 0.5), np.arange(120.0, frames.edge_T[-1], 15.0)])
    time_I = np.unique(np.concatenate([fine, frames.edge_T]))
    inputs = [
        plasma_and_blood(tracer.input, tracer.decay_constant, delay, time_I) for delay in (0.0, 8.0)
    ]
    plasma, blood = np.array(inputs).transpose(1, 0, 2)
    dose = np.array([[1.0], [2.0]])
    return Known(frames=frames, time_I=time_I, plasma_SI=dose * plasma, blood_SI=dose * blood)


@pytest.fixture(scope="session")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three heads of four slices, large enough for regions to be read."""
    path = str(tmp_path_factory.mktemp("brains") / "brains.zarr")
    request = StudyRequest(
        tracers=("fmz", "fdg"), protocol="p1", phantom="brain", subjects=3, slices=4, seed=11
    )
    simulate_study(request, path, workers=1, splits={"test": 1.0})
    return open_store(path, need_truth=True)


@pytest.fixture(scope="session")
def heads(brains: Store) -> list[Samples]:
    """Their images."""
    return list(brains.subjects("test"))
