"""A trial of spectral analysis: there is nothing to train, so its basis is scored once."""

from __future__ import annotations

import time

import numpy as np

from dtsinn.data.store import Store
from dtsinn.evaluation import metrics
from dtsinn.evaluation.baselines import SpectralAnalysis
from dtsinn.networks.config import SpectralConfig
from dtsinn.search.objective import OBJECTIVE


def score_basis(store: Store, config: SpectralConfig) -> dict[str, float]:
    """What a trial reports of a basis: the PSNR of the ``val`` subjects, in dB.

    Raises:
        InputError: The store has no input functions.
        StoreError: A chunk of the store is missing or damaged.
    """
    begun = time.monotonic()
    separate = SpectralAnalysis(config=config).on(store)
    psnr = np.array(
        [
            metrics.psnr(samples, separate(samples), store.header.protocol)
            for samples in store.subjects("val")
        ]
    )
    first, second = store.header.tracers
    return {
        OBJECTIVE: float(psnr.mean()),
        "val_psnr": float(psnr.mean()),
        f"val_psnr_{first}": float(psnr[:, 0].mean()),
        f"val_psnr_{second}": float(psnr[:, 1].mean()),
        "seconds": time.monotonic() - begun,
    }
