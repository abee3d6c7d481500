"""The separator package: writing it whole, verifying it, and the network inside it.

A package is a folder of ``weights.safetensors``, ``separator.json``, ``card.md``, ``model.onnx``,
``inverse.onnx`` (exact networks), ``floor.safetensors`` (the linear map of its training stores,
what it is measured against), in exported ones ``calibration.json``
(:mod:`dtsinn.separation.calibration`), both none of its digest, and, written last,
``manifest.json``. It is the only way a model travels, it never changes, and nothing in it is a
pickle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from dtsinn.core.atomic import fresh_folder
from dtsinn.core.causes import brief
from dtsinn.core.config import to_mapping
from dtsinn.core.errors import PackageError, naming
from dtsinn.deploy.card import card_text
from dtsinn.deploy.digest import digest_of_files, digest_of_weights
from dtsinn.deploy.facts import INFO_NAME, Lineage
from dtsinn.deploy.info import SeparatorInfo, info_text, portable, read_info
from dtsinn.deploy.manifest import (
    CALIBRATION_NAME,
    CARD_NAME,
    FLOOR_NAME,
    INVERSE_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    WEIGHTS_NAME,
    Manifest,
    ManifestFile,
    VerifiedFiles,
    verify_files,
    write_manifest,
)
from dtsinn.deploy.onnx_graphs import (
    InferenceGraph,
    write_inference_graph,
    write_inverse_graph,
)
from dtsinn.networks.build import METHODS, build_network, build_outline, kinds_with
from dtsinn.networks.conditioning import protocol_features
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.networks.separator import SeparatorNetwork

if TYPE_CHECKING:
    from dtsinn.data.store import StoreHeader

__all__ = [
    "Lineage",
    "Manifest",
    "ManifestFile",
    "SeparatorInfo",
    "copy_package",
    "load_network",
    "load_package",
    "package_digest",
    "read_info",
    "read_package",
    "separator_digest",
    "set_calibration",
    "verify_package",
    "write_package",
]


def write_package(
    folder: Path,
    network: SeparatorNetwork,
    info: SeparatorInfo,
    floor: LinearNetwork | None = None,
) -> None:
    """Write ``network`` as the package ``folder``, which appears whole or not at all.

    Args:
        folder: Where to; must not exist.
        network: Trained network as :func:`dtsinn.networks.build.build_network` made it (not
            frozen), on any device; it is left as it is.
        info: What it is. Absolute local paths in its lineage are cut to their last part.
        floor: The linear map that was fitted to the stores that the network was trained on.

    Raises:
        PackageError: ``folder`` exists, or the network is not what ``info`` says, or its
            weights are not finite.
        RunError: The export to ONNX failed.
    """
    info = portable(info)
    weights = _single_precision(network)
    copied = _network_of(weights, info, str(folder))
    copied.condition_on(features_of(info))
    frozen = copied.frozen()
    card = card_text(info, separator_digest(weights, info), copied)
    with fresh_folder(folder) as partial:
        (partial / WEIGHTS_NAME).write_bytes(safetensors.torch.save(weights))
        (partial / INFO_NAME).write_text(info_text(info), encoding="utf-8")
        (partial / CARD_NAME).write_text(card, encoding="utf-8")
        duration_T = torch.tensor(info.frame_duration)
        write_inference_graph(InferenceGraph(frozen, duration_T), partial / MODEL_NAME)
        if frozen.exact:
            write_inverse_graph(frozen, partial / INVERSE_NAME)
        if floor is not None:
            kept = safetensors.torch.save(_single_precision(floor))
            (partial / FLOOR_NAME).write_bytes(kept)
        write_manifest(partial)


def verify_package(folder: Path) -> Manifest:
    """Check every file of the package ``folder``, as :func:`read_package`.

    Raises:
        PackageError: Likewise.
    """
    return read_package(folder)[0].manifest


def read_package(folder: Path) -> tuple[VerifiedFiles, SeparatorInfo]:
    """The files of the package ``folder``, verified: what is used afterwards is what was read here.

    Raises:
        PackageError: A file is missing, extra, linked or changed, ``separator.json`` says
            something unknown, or a graph is none of dtsinn's; one line that names the file.
    """
    files = verify_files(folder)
    info = read_info(folder, files.contents[INFO_NAME])
    kind = info.model.kind
    if not METHODS[kind].has_weights:
        known = ", ".join(kinds_with(has_weights=True))
        raise PackageError(f"{folder / INFO_NAME}: model.kind", got=kind, wanted=f"one of {known}")
    exact, found = METHODS[kind].exact, INVERSE_NAME in files.contents
    if exact and not found:
        raise PackageError(
            f"{folder / INVERSE_NAME} is missing", wanted="it beside an exact network"
        )
    if found and not exact:
        raise PackageError(f"{folder / INVERSE_NAME}", got=f"one beside a {kind}", wanted="none")
    from dtsinn.deploy.onnx_check import check_graph  # here: training writes and reads none

    for name in (MODEL_NAME, INVERSE_NAME) if exact else (MODEL_NAME,):
        check_graph(files.contents[name], folder / name)
    return files, info


def copy_package(folder: Path, copy: Path) -> None:
    """Write the verified files of the package ``folder`` into the empty folder ``copy``.

    Raises:
        PackageError: The package does not verify.
    """
    for name, content in read_package(folder)[0].contents.items():
        (copy / name).write_bytes(content)


def set_calibration(folder: Path, text: str) -> None:
    """Give the package ``folder`` another ``calibration.json``, or none where the text is empty.

    Its digest stays: what a separator computes does not depend on it. The folder is one that
    nobody else sees yet.
    """
    (folder / CALIBRATION_NAME).unlink(missing_ok=True)
    if text:
        (folder / CALIBRATION_NAME).write_text(text, encoding="utf-8")
    (folder / MANIFEST_NAME).unlink()
    write_manifest(folder)


def load_network(folder: Path) -> tuple[SeparatorNetwork, SeparatorInfo, str]:
    """The network of the package ``folder``, trainable as it was, after verification.

    Returns:
        The network, what it is, and its digest, all of the same bytes.

    Raises:
        PackageError: The package does not verify, or its weights are not those of its model.
    """
    network, info, digest, _ = load_package(folder)
    return network, info, digest


def load_package(
    folder: Path,
) -> tuple[SeparatorNetwork, SeparatorInfo, str, LinearNetwork | None]:
    """What :func:`load_network` loads, and the floor; None where the package has none.

    The linear map is its own floor.

    Raises:
        PackageError: As there, or the floor is no linear map of as many frames.
    """
    files, info = read_package(folder)
    weights = _weights_of(files, folder, WEIGHTS_NAME)
    network = _network_of(weights, info, str(folder / WEIGHTS_NAME))
    floor = network if isinstance(network, LinearNetwork) else _floor_of(files, info, folder)
    return network, info, digest_of_files(files, folder), floor


def package_digest(folder: Path) -> str:
    """SHA-256 of a package's weights and configuration, without dates, metrics and lineage.

    Two packages of the same separator have the same digest, whoever wrote them and when.

    Raises:
        PackageError: The package does not verify.
    """
    return digest_of_files(read_package(folder)[0], folder)


def separator_digest(weights: Mapping[str, Tensor], info: SeparatorInfo | Mapping[str, Any]) -> str:
    """The digest of :func:`package_digest`, from ``weights`` in memory.

    Args:
        weights: By name.
        info: Of a package what its ``separator.json`` holds, as it stands there: written by
            today's classes it would also hold settings that there were not when it was made. Of a
            separator that is in no package yet, what will be written.
    """
    plain = to_mapping(info) if isinstance(info, SeparatorInfo) else info
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}
    return digest_of_weights(arrays, plain)


def features_of(scan: SeparatorInfo | StoreHeader) -> Tensor:
    """The features [T, F] that a conditioned network gets of a scan's protocol and half-lives."""
    times = scan if isinstance(scan, SeparatorInfo) else scan.protocol
    return protocol_features(
        times.frame_start, times.frame_duration, times.injection_time, scan.half_life
    )


def _single_precision(network: SeparatorNetwork) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in network.state_dict().items()
    }


def _floor_of(files: VerifiedFiles, info: SeparatorInfo, folder: Path) -> LinearNetwork | None:
    if FLOOR_NAME not in files.contents:
        return None
    weights, where = _weights_of(files, folder, FLOOR_NAME), str(folder / FLOOR_NAME)
    side = max((tensor.shape[-1] for tensor in weights.values() if tensor.ndim), default=0)
    with naming(where, PackageError):
        linear = dataclasses.replace(info, model=LinearConfig(context=side // 2))
    floor = _network_of(weights, linear, where)
    return floor if isinstance(floor, LinearNetwork) else None


def _weights_of(files: VerifiedFiles, folder: Path, name: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(files.contents[name])
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        path = folder / name
        raise PackageError(f"{path} cannot be read as safetensors", got=brief(error)) from None


def _network_of(weights: Mapping[str, Tensor], info: SeparatorInfo, where: str) -> SeparatorNetwork:
    """The network of ``info`` with exactly ``weights``: nothing of its random start is left."""
    with naming(where, PackageError):
        expected = build_outline(info.model, info.frames, weights)
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise PackageError(f"{where}: tensor {name} is missing")
        if name not in expected:
            raise PackageError(f"{where}: tensor {name} is none of the model's")
        got = _kind_of(tuple(weights[name].shape), weights[name].dtype)
        wanted = _kind_of(*expected[name])
        if got != wanted:
            raise PackageError(f"{where}: tensor {name}", got=got, wanted=wanted)
        if not bool(torch.isfinite(weights[name]).all()):
            raise PackageError(f"{where}: tensor {name}", got="NaN or inf", wanted="finite weights")
    network = build_network(info.model, info.frames)
    network.load_state_dict(dict(weights), strict=True)
    return network


def _kind_of(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"
