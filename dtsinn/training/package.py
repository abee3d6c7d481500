"""From a run's state to its separator package and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dtsinn.core.config import to_mapping
from dtsinn.core.paths import name_of_store
from dtsinn.core.version import code_version
from dtsinn.data.store import Store, StoreHeader
from dtsinn.deploy.facts import TrainingData
from dtsinn.deploy.package import Lineage, SeparatorInfo, write_package
from dtsinn.deploy.separator import Separator
from dtsinn.networks.closed_form import fit_linear
from dtsinn.networks.rivals.linear import LinearNetwork
from dtsinn.training.protocols import as_stores
from dtsinn.training.state import TrainingState


def package_run(
    state: TrainingState,
    stores: Store | Sequence[Store],
    folder: Path,
    run: str,
    search: str = "",
    floor: LinearNetwork | None = None,
) -> None:
    """Write the best weights of a run as the separator package ``folder``.

    The linear map of the same stores goes with it: what its evaluations are measured against.

    Args:
        state: Of the run, after at least one validation.
        stores: That it was trained on, the one that names it first.
        folder: Where to; must not exist.
        run: Key of the run.
        search: Name of the search that it belongs to.
        floor: The linear map of the same stores; fitted here without one.
    """
    stores = as_stores(stores)
    header, *further = (store.header for store in stores)
    info = separator_info(state, header, run, search, further)
    if isinstance(state.network, LinearNetwork):
        floor = None
    elif floor is None:
        floor = fit_linear(stores)
    write_package(folder, state.best_network(), info, floor)


def separator_info(
    state: TrainingState,
    header: StoreHeader,
    run: str,
    search: str = "",
    further: Sequence[StoreHeader] = (),
) -> SeparatorInfo:
    """What ``separator.json`` says of the best weights of a run."""
    protocol, config = header.protocol, state.config
    return SeparatorInfo(
        model=config.model,
        tracers=header.tracers,
        protocol=protocol.name,
        frame_start=protocol.frame_start,
        frame_duration=protocol.frame_duration,
        injection_time=protocol.injection_time,
        half_life=header.half_life,
        metrics={"val_psnr": state.progress.best_psnr, "cpu_seconds": state.progress.cpu_seconds},
        lineage=Lineage(
            run=run,
            config=to_mapping(config),
            store_path=name_of_store(header.path),
            store_digest=header.digest,
            code_version=code_version(),
            seed=config.seed,
            search=search,
            trial=run if search else "",
            steps=state.progress.best_step,
            further_stores=state.progress.store_digest.partition(",")[2],
            init=state.progress.init,
            init_tracers=state.progress.init_tracers,
            trained_on=tuple(training_data(one) for one in (header, *further)),
        ),
    )


def training_data(header: StoreHeader) -> TrainingData:
    """What a store holds, as a package says it of what it was trained on."""
    return TrainingData(
        tracers=header.tracers,
        protocol=header.protocol.name,
        frame_edges=header.protocol.frame_edges,
        injection_time=header.protocol.injection_time,
        phantom=header.phantom,
        noise=header.noise,
        population=header.population,
        conditions=header.conditions,
    )


def picture_run(state: TrainingState, store: Store, folder: Path, run: str) -> list[Path]:
    """Draw the first ``val`` subject as the best weights separate it: images and curves."""
    # Here: matplotlib is nothing for who only trains.
    from dtsinn.plots import separations
    from dtsinn.plots.style import write_figure

    separator = Separator(state.best_network(), separator_info(state, store.header, run))
    samples = next(store.subjects("val"))
    predicted_NKTYX = separator.separate(samples.mixture_NTYX)
    return [
        write_figure(draw(samples, predicted_NKTYX, store.header), folder / f"{draw.__name__}.png")
        for draw in (separations.separation, separations.regional_curves)
    ]
