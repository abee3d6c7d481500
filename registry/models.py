"""The registry's front: register a package, list and show versions, resolve a REF."""

from dtsinn.registry.lineage import show_model
from dtsinn.registry.names import model_name
from dtsinn.registry.references import ResolvedModel, fetch, find_version, resolve
from dtsinn.registry.registration import register
from dtsinn.registry.versions import CHAMPION, PREVIOUS, ModelVersion, list_models

__all__ = [
    "CHAMPION",
    "PREVIOUS",
    "ModelVersion",
    "ResolvedModel",
    "fetch",
    "find_version",
    "list_models",
    "model_name",
    "register",
    "resolve",
    "show_model",
]
