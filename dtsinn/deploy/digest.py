"""The digest of a separator: that of its weights and configuration, without dates.

Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from dtsinn.core.causes import brief
from dtsinn.core.errors import PackageError
from dtsinn.deploy.facts import INFO_NAME, read_json
from dtsinn.deploy.manifest import WEIGHTS_NAME, VerifiedFiles

DIGEST_KEYS = (
    "model",
    "tracers",
    "frame_start",
    "frame_duration",
    "injection_time",
    "half_life",
    "normalisation",
)
"""What of ``separator.json`` makes a separator the one that it is."""


def digest_of_weights(weights: Mapping[str, npt.NDArray[Any]], content: Mapping[str, Any]) -> str:
    """SHA-256 of weights and configuration, without dates, metrics and lineage.

    Two packages of the same separator have the same digest, whoever wrote them and when.

    Args:
        weights: By name.
        content: Of ``separator.json``, as it stands there.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        head = [name, str(weights[name].dtype), list(weights[name].shape)]
        digest.update(json.dumps(head).encode())
        digest.update(weights[name].tobytes())
    made = {key: content[key] for key in DIGEST_KEYS if key in content}
    digest.update(json.dumps(made, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()


def digest_of_files(files: VerifiedFiles, folder: Path) -> str:
    """The digest of the package ``folder``, from its verified files.

    Raises:
        PackageError: The weights cannot be read.
    """
    try:
        weights = safetensors.numpy.load(files.contents[WEIGHTS_NAME])
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        path = folder / WEIGHTS_NAME
        raise PackageError(f"{path} cannot be read as safetensors", got=brief(error)) from None
    return digest_of_weights(weights, read_json(folder / INFO_NAME, files.contents[INFO_NAME]))
