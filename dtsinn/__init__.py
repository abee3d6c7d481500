"""dtsinn: find, prove, keep and use networks that separate two tracers in one PET scan.

From Python, in this order (docs/python.md):

* :func:`simulate` makes a store of dual-tracer scans, :func:`open_store` opens one;
* :func:`train` trains one separator, :func:`run_search` searches for the best one;
* :func:`evaluate` scores separators on subjects that training never saw;
* :func:`separate` splits a new scan into two, and judges whether its model knows such scans;
* :class:`Separator` separates mixtures [N, T, Y, X] into tracers [N, 2, T, Y, X], and mixes again;
* :class:`Tracer` and :class:`Protocol` say what is injected, and when what is measured.

Activities are averages over frames in kBq/mL, not corrected for decay; times are in s. Each name is
imported when it is first used: ``import dtsinn`` waits for no library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtsinn.core.protocol import Protocol
    from dtsinn.core.tracer import Tracer
    from dtsinn.data.store import open_store
    from dtsinn.deploy.separator import Separator
    from dtsinn.simulation.study import simulate
    from dtsinn.workflows.pipeline import evaluate, run_search, train
    from dtsinn.workflows.separating import separate

__version__ = "0.1.0"
__all__ = [
    "Protocol",
    "Separator",
    "Tracer",
    "evaluate",
    "open_store",
    "run_search",
    "separate",
    "simulate",
    "train",
]
_MODULES = {
    "Protocol": "dtsinn.core.protocol",
    "Separator": "dtsinn.deploy.separator",
    "Tracer": "dtsinn.core.tracer",
    "evaluate": "dtsinn.workflows.pipeline",
    "open_store": "dtsinn.data.store",
    "run_search": "dtsinn.workflows.pipeline",
    "separate": "dtsinn.workflows.separating",
    "simulate": "dtsinn.simulation.study",
    "train": "dtsinn.workflows.pipeline",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        from dtsinn.core.extras import cure_of_missing

        if cure := cure_of_missing(error):
            words = f"dtsinn.{name} needs {error.name}; try {cure}"
            raise ModuleNotFoundError(words, name=error.name) from None
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
