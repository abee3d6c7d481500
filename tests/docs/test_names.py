"""The pages name every kind that an option takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from dtsinn.data.augmentation import AUGMENTATIONS
from dtsinn.importers.scans import IMPORTERS
from dtsinn.networks.build import METHODS
from dtsinn.search.sampling.halving import SCHEDULERS
from dtsinn.search.sampling.samplers import SAMPLERS
from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.simulation.scanner.noise_model import NOISE_MODELS
from dtsinn.training.losses import TERMS

DOCS = Path(__file__).resolve().parents[2] / "docs"
SETTINGS = [name for one in AUGMENTATIONS.values() for name in one.settings]


@pytest.mark.parametrize(
    "names", [SAMPLERS, SCHEDULERS, METHODS, TERMS, PHANTOMS, NOISE_MODELS, IMPORTERS, SETTINGS]
)
def test_every_name_stands_in_the_commands(names: Iterable[str]) -> None:
    text = (DOCS / "commands.md").read_text("utf-8")
    words = set(re.findall(r"[a-z0-9_-]+", " ".join(re.findall(r"`[^`]+`", text))))
    assert set(names) <= words
