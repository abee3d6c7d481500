"""Registration of a separator package as a version of a model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from mlflow.entities import LoggedModel, LoggedModelOutput

import dtsinn
from dtsinn.core.errors import PackageError
from dtsinn.core.paths import name_of_store
from dtsinn.deploy.package import (
    Manifest,
    SeparatorInfo,
    copy_package,
    package_digest,
    read_package,
)
from dtsinn.networks.rivals.linear import LinearConfig
from dtsinn.registry.tracking.names import (
    EXISTS,
    check_name,
    mlflow_errors_as,
    model_name,
    round_shown,
    suppress_mlflow,
)
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import (
    DIGEST,
    LOGGED_MODEL,
    METRICS,
    PACKAGE_FOLDER,
    RUN_KEY,
    ModelVersion,
    get_version,
    versions_of_run,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on import MLflow warns of type hints of its own
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

LOADER = "dtsinn.registry.flavour"

REGISTERING = "register"
"""Lock held while a package is on its way to a version, so that no pruning takes it for unused."""

REQUIREMENTS = (f"dtsinn=={dtsinn.__version__}", "mlflow", "numpy", "safetensors", "torch")
"""Given, because MLflow would start a process for half a minute to guess them."""


def register(
    tracker: MlflowTracker,
    package: Path,
    *,
    run_key: str,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Register a package as a new version, on the run that made it.

    The run's status is left alone. The same weights from the same run are registered once:
    asking again returns the version that exists.

    Args:
        tracker: Where the run was begun.
        package: A separator package; it is verified and copied.
        run_key: The run that made it.
        name: Model to add to; from tracer pair and protocol unless given.
        tags: More tags of the version.

    Raises:
        PackageError: The package is damaged.
        RunError: The run is unknown, or MLflow failed.
    """
    files, info = read_package(package)
    digest = package_digest(package)
    chosen = check_name(model_name(info.tracers, info.protocol) if name is None else name)
    run_id = tracker.run_id(run_key)
    for known in versions_of_run(tracker, run_id):
        if (known.name, known.digest) == (chosen, digest):
            return known
    with mlflow_errors_as(f"registering {package.name} as {chosen}"), tracker.lock(REGISTERING):
        model = _make_logged_model(tracker, run_id, package, info, digest)
        make_registered_model(tracker, chosen, info)
        described = _version_tags(info, files.manifest, digest, run_key) | dict(tags or {})
        # The location, not models:/ID: that one MLflow looks up at its global tracking URI.
        made = tracker.client.create_model_version(
            chosen,
            source=model.artifact_location,
            run_id=run_id,
            tags=described | {LOGGED_MODEL: model.model_id},
            description=_describe(info, run_key),
            model_id=model.model_id,
        )
    return get_version(tracker, chosen, int(made.version))


def _make_logged_model(
    tracker: MlflowTracker, run_id: str, package: Path, info: SeparatorInfo, digest: str
) -> LoggedModel:
    """Make the package MLflow's "logged model" of the run; one that was left behind is used."""
    experiment = tracker.client.get_run(run_id).info.experiment_id
    for known in tracker.all_pages(
        tracker.client.search_logged_models,
        experiment_ids=[experiment],
        filter_string=f"tags.`{DIGEST}` = '{digest}'",
    ):
        if known.source_run_id == run_id and str(known.status) == "READY":
            return cast(LoggedModel, known)
    model = tracker.client.create_logged_model(
        experiment,
        name=PACKAGE_FOLDER,
        source_run_id=run_id,
        tags={DIGEST: digest},
        model_type="separator",
    )
    with TemporaryDirectory(prefix="dtsinn-") as folder:
        copied = Path(folder) / PACKAGE_FOLDER
        copied.mkdir()
        copy_package(package, copied)
        if package_digest(copied) != digest:
            raise PackageError(f"{package} was changed while it was registered")
        made = Path(folder) / "model"
        _save_model(
            path=str(made),
            loader_module=LOADER,
            data_path=str(copied),
            mlflow_model=Model(
                artifact_path=PACKAGE_FOLDER,  # MLflow's own is a path of this machine
                run_id=run_id,
                model_id=model.model_id,
                model_uuid=model.model_id,
            ),
            signature=_make_signature(len(info.frame_start)),
            pip_requirements=list(REQUIREMENTS),
        )
        tracker.client.log_model_artifacts(model.model_id, str(made))
    tracker.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return tracker.client.finalize_logged_model(model.model_id, "READY")


def _save_model(**what: Any) -> None:
    """MLflow asks for an input example on every model; the signature says what it would."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example")
        mlflow.pyfunc.save_model(**what)


def _make_signature(frames: int) -> ModelSignature:
    """Unnamed tensors, so that ``predict`` gets an array and no dictionary."""
    f4 = np.dtype(np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(f4, (-1, frames, -1, -1))]),
        outputs=Schema([TensorSpec(f4, (-1, 2, frames, -1, -1))]),
    )


def _describe(info: SeparatorInfo, run_key: str) -> str:
    """Describe a version in a sentence."""
    lineage = info.lineage
    psnr = info.metrics.get("val_psnr")
    of = f"trial {run_key} of search {lineage.search}" if lineage.search else f"run {run_key}"
    kind = info.model.kind
    what = "Linear floor" if kind == LinearConfig.kind else f"Separator {kind}"
    return (
        f"{what} for {' then '.join(t.upper() for t in info.tracers)}, "
        f"protocol {info.protocol}: {of}, trained on {name_of_store(lineage.store_path)}"
        + (f"; {psnr:.2f} dB on its val subjects" if psnr is not None else "")
        + ". The gate's verdict is in the tags gate.*."
    )


def make_registered_model(tracker: MlflowTracker, name: str, info: SeparatorInfo) -> None:
    """Make the registered model of a name, where there is none, for separators like this one."""
    pair = " + ".join(tracer.upper() for tracer in info.tracers)
    with suppress_mlflow(EXISTS):
        tracker.client.create_registered_model(
            name,
            tags={"dtsinn.tracers": ",".join(info.tracers), "dtsinn.protocol": info.protocol},
            description=f"Separators of {pair}, protocol {info.protocol}",
        )


def _version_tags(
    info: SeparatorInfo, manifest: Manifest, digest: str, run_key: str
) -> dict[str, str]:
    lineage = info.lineage
    tags = {
        DIGEST: digest,
        RUN_KEY: run_key,
        METRICS: json.dumps({k: round_shown(v) for k, v in sorted(info.metrics.items())}),
        "store.path": name_of_store(lineage.store_path),
        "store.digest": lineage.store_digest,
        "code.version": lineage.code_version,
        "seed": str(lineage.seed),
        "search": lineage.search,
        "trial": lineage.trial,
        "init": lineage.init,
        "init.tracers": lineage.init_tracers,
        "store.further": lineage.further_stores,
        "bytes": str(sum(file.size for file in manifest.files)),
    }
    return {name: value for name, value in tags.items() if value}
