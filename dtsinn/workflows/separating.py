"""Separating a scan with any model that a user can name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Unpack

from dtsinn.core.paths import home_path
from dtsinn.core.progress import no_progress
from dtsinn.core.workspace import Workspace, open_workspace
from dtsinn.deploy.facts import INFO_NAME
from dtsinn.separation.separate import Options, Separation, separate_scan


def separate(
    scan: str | Path,
    model: str | Path = "best",
    out: str | Path = "separated",
    *,
    workspace: Workspace | str | Path | None = None,
    calibrated: bool = True,
    **options: Unpack[Options],
) -> Separation:
    """Separate a scan of two tracers: two scans, tables, a report and a verdict.

    A package needs neither a workspace nor torch, MLflow or Ray.

    Args:
        scan: A NIfTI file with a PET-BIDS sidecar, a DICOM folder, an import plan, a store, or an
            array (``.npy``, ``.mat``) with such a sidecar.
        model: Any model reference, or the folder of an exported package.
        out: The folder to write; it must not exist.
        workspace: Where models are looked up, by default ``./dtsinn-workspace``.
        calibrated: Compare the scan with the model's calibration subjects, and give intervals;
            those of a model in the workspace are simulated the first time.
        options: See :func:`dtsinn.separation.separate.separate_scan`.

    Returns:
        Where things lie, and the verdict; a scan outside is separated, too, and marked.

    Raises:
        InputError: The scan, the model or an option does not fit; nothing is written.
    """
    if not calibrated:
        options["calibration"] = "asked for without"
    folder = home_path(model)
    if (folder / INFO_NAME).is_file():
        return separate_scan(scan, folder, out, **options)
    from dtsinn.registry.references import resolve
    from dtsinn.registry.tracking import environment

    environment.check()
    begun = open_workspace(workspace)
    found = resolve(str(model), begun)
    if "calibration" not in options:
        from dtsinn.workflows.calibrating import find_calibration

        progress = options.get("progress", no_progress)
        options["calibration"] = partial(find_calibration, found.path, begun, progress)
    version = "" if found.version is None else f"/{found.version}"
    return separate_scan(scan, found.path, out, name=f"{found.name}{version}", **options)
