"""Calibration of the noise levels: which alpha gives which relative noise in grey matter."""

from __future__ import annotations

import numpy as np

from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.scanner.noise import load_image_noise

CALIBRATION = StudyRequest(
    tracers=("fmz", "fdg"), protocol="p1", phantom="brain", subjects=16, purpose="calibration"
)
"""The study on which the alphas are defined; its last frame lasts 10 minutes."""


def calibrate(request: StudyRequest = CALIBRATION) -> dict[str, float]:
    """The alpha of every noise level, (kBq/mL)^0.5 s^0.5.

    The standard deviation of a voxel is alpha sqrt(A / duration). Pooled over the grey matter of
    the last frame of all subjects, its root mean square over the mean activity is the level's
    ``relative_sd``; solving for alpha gives relative_sd sqrt(mean A * duration).
    """
    phantom = PHANTOMS[request.phantom]()
    grey = [label for label, region in enumerate(phantom.regions) if region.grey]
    activity = []
    for index in range(request.subjects):
        images = render_subject(request, index)
        total = images.tracers[:, :, -1].sum(axis=1, dtype=np.float64)
        activity.append(total[np.isin(images.regions, grey)])
    duration = request.parts.protocol.frame_duration[-1]
    root = float(np.sqrt(np.concatenate(activity).mean() * duration))
    return {name: level.relative_sd * root for name, level in load_image_noise().levels.items()}
