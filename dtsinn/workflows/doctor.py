"""What of this machine, this workspace and these settings would make a command fail.

Every check asks the real thing: it writes a file, binds a socket, reads the database, knocks at
the server. None imports torch, and none leaves anything behind. What a check needs of other
packages it imports itself, so that one that is missing is a finding.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

import dtsinn
from dtsinn.core.causes import in_our_words, without_passwords
from dtsinn.core.errors import InputError
from dtsinn.core.extras import find_extra, install_command
from dtsinn.core.version import collect_versions, find_version
from dtsinn.core.workspace import Workspace

State = Literal["ok", "note", "problem"]

LINKS = "search", "registry", "configs", "cli.py"
"""What in a checkout's package is a link to the top level."""
GIB = 2**30
FULL_bytes = GIB // 10
"""Free space under which a command fails (uncited): a log of a search and a checkpoint."""
SCARCE_bytes = 5 * GIB
"""Free space that a search of 50 trials may take (uncited)."""
LITTLE_MEMORY_bytes = 4 * GIB
"""Memory in all that a search on two cores takes (uncited)."""
NO_MEMORY_bytes = GIB
"""Memory in all that the imports of a training alone take (uncited)."""
SHARED_bytes = 2**28
"""Shared memory that Ray and the loaders want at least (uncited); containers have 64 MiB."""
FILES = 1024
"""Open files that Ray wants on one machine (it warns below)."""
CURE_OF_SPACE = "df -h, then dtsinn registry prune, or another folder"
KNOCK_s = 5
"""Longest wait for a database's port to answer, s (uncited)."""
CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
SHARED = Path("/dev/shm")  # noqa: S108 (it is measured only)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    """``problem``: some command would fail; ``note``: worth knowing."""
    found: str
    cure: str = ""
    """What to do about a problem or a note, in one line."""


def _judge(what: str, found: str, cure: str = "", *, fails: bool = False) -> Finding:
    """A finding: ``ok`` where it needs no cure, else a ``problem`` where a command fails."""
    state: State = "problem" if fails else "note" if cure else "ok"
    return Finding(what=what, state=state, found=found, cure=cure)


def examine(workspace: Workspace) -> list[Finding]:
    """Look at everything that commands need; takes about a second without a tracking server.

    Args:
        workspace: Of the commands; it need not exist, and is not made.
    """
    findings: list[Finding] = []
    for what, check in CHECKS.items():
        try:
            findings += check(workspace)
        except Exception as error:
            findings.append(_as_problem(what, error))
    return findings


def _as_problem(what: str, error: Exception) -> Finding:
    """What a check ran into, in the words of the command that would run into it."""
    ours = in_our_words(error)
    wanted = f"; wanted {ours.wanted}" if ours.wanted else ""
    got = f": {ours.got}" if ours.got else ""
    cure = ours.hint or ours.wanted or "the command that needs it, with --debug"
    return _judge(what, f"{ours.what}{got}{wanted}", cure, fails=True)


def _check_versions(workspace: Workspace) -> Iterator[Finding]:
    for name, version in collect_versions().items():
        extra = find_extra(name) if version == "missing" else ""
        if extra:  # which separating does without
            yield _judge(name, version, install_command(extra))
            continue
        cure = "pip install dtsinn, into the Python of this command"
        lacks = version == "missing"
        yield _judge(name, version, cure if lacks else "", fails=lacks)


def _check_packages(workspace: Workspace) -> Iterator[Finding]:
    """Whether what dtsinn requires is installed, in the versions that it requires.

    What trains and searches counts where torch is: without it the installation is for separating.
    """
    from packaging.requirements import Requirement

    try:
        required = [Requirement(text) for text in metadata.requires("dtsinn") or ()]
    except metadata.PackageNotFoundError:
        yield _judge("packages", "dtsinn is not installed", "pip install --editable .")
        return
    extra = {"extra": "platform" if find_version("torch") else ""}
    needed = {
        one: find_version(one.name)
        for one in required
        if one.marker is None or one.marker.evaluate(extra)
    }
    wrong = {
        one: version
        for one, version in needed.items()
        if version is None or not one.specifier.contains(version, prereleases=True)
    }
    for one, version in wrong.items():
        found = f"{one.name} {version or 'is missing'}; wanted {one.specifier}"
        cure = f"pip install '{one.name}{one.specifier}'"
        yield _judge("packages", found, cure, fails=True)
    if not wrong:
        yield _judge("packages", "all that dtsinn requires")


def _check_cpus(workspace: Workspace) -> Iterator[Finding]:
    cores = os.cpu_count() or 1
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    allowed = min(here, read_cpu_limit() or here)
    if allowed >= cores:
        yield _judge("CPUs", f"{cores} cores")
    else:
        cure = f"--workers or --concurrent {max(int(allowed), 1)}: the default is one per core"
        yield _judge("CPUs", f"{cores} cores, of which {allowed:g} may be used", cure)


def _check_gpus(workspace: Workspace) -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield _judge("GPUs", "none of NVIDIA; the CPU does all")
        return
    asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=10)  # noqa: S603
    found = "; ".join(done.stdout.split("\n")).strip("; ")
    if done.returncode or not found:
        said = " ".join((done.stdout + done.stderr).split())[:100]
        cure = "the driver that fits the kernel; the CPU does until then"
        yield _judge("GPUs", f"nvidia-smi: {said}", cure)
    elif "+cpu" in (find_version("torch") or ""):
        cure = "pip install of a torch that is built for CUDA"
        yield _judge("GPUs", f"{found}; torch uses none", cure)
    else:
        yield _judge("GPUs", found)


def _check_memory(workspace: Workspace) -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    most = min(memory.total, read_memory_limit() or memory.total)
    limited = f", of which {_format_size(most)} may be used" if most < memory.total else ""
    cure = "a larger machine or limit, or --concurrent 1 and a small batch"
    yield _judge(
        "memory",
        f"{_format_size(memory.total)}{limited}; {_format_size(memory.available)} available",
        cure if most < LITTLE_MEMORY_bytes else "",
        fails=most < NO_MEMORY_bytes,
    )


def _check_space(workspace: Workspace) -> Iterator[Finding]:
    for what, folder in (
        ("space for the workspace", _find_existing_parent(workspace.root)),
        ("space for temporary files", Path(tempfile.gettempdir())),
    ):
        free = shutil.disk_usage(folder).free
        yield _judge(
            what,
            f"{_format_size(free)} free in {folder}",
            CURE_OF_SPACE if free < SCARCE_bytes else "",
            fails=free < FULL_bytes,
        )


def _check_shared_memory(workspace: Workspace) -> Iterator[Finding]:
    if SHARED.is_dir():
        total = shutil.disk_usage(SHARED).total
        small = total < SHARED_bytes
        yield _judge(
            str(SHARED),
            f"{_format_size(total)}{'; Ray is slow with so little' if small else ''}",
            "docker run --shm-size=2g, or a mount of that size" if small else "",
        )
    elif sys.platform == "linux":
        yield _judge(str(SHARED), "there is none", "mount -t tmpfs tmpfs /dev/shm")


def _check_temporary(workspace: Workspace) -> Iterator[Finding]:
    """Whether ``TMPDIR`` can be used: Python passes over one that cannot, and says nothing."""
    asked, used = os.environ.get("TMPDIR"), tempfile.gettempdir()
    _write_in(Path(used))
    passed_over = asked and Path(asked).absolute() != Path(used).absolute()
    yield _judge(
        "TMPDIR",
        f"{asked} cannot be written; {used} is used" if passed_over else used,
        "TMPDIR=/tmp, or a folder that can be written" if passed_over else "",
    )


def _check_links(workspace: Workspace) -> Iterator[Finding]:
    """Whether the checkout's links are links: git makes files of text where it knows none."""
    package = Path(dtsinn.__file__).parent
    broken = [name for name in LINKS if not _is_whole(package / name)]
    if broken:
        found = f"{', '.join(broken)} in {package}: no links, but texts"
        cure = "git config core.symlinks true, then git checkout -- dtsinn; on Windows the wheel"
        yield _judge("links", found, cure, fails=True)
    else:
        yield _judge("links", "the package's are whole")


def _is_whole(path: Path) -> bool:
    if path.suffix:
        return path.is_file() and not path.read_bytes().startswith(b"../")
    return path.is_dir()


def _check_workspace(workspace: Workspace) -> Iterator[Finding]:
    root = workspace.root
    if not root.exists():
        _write_in(_find_existing_parent(root))
        yield _judge("workspace", f"none yet at {root}; the first training or search makes it")
        return
    next(root.iterdir(), None)  # may it be read?
    _write_in(root)
    if workspace.database.exists():
        yield _check_schema("workspace", workspace.database, str(root))
    else:
        yield _judge("workspace", f"{root}, without a database of its own")


def _check_schema(what: str, database: Path, place: str) -> Finding:
    """Whether this MLflow reads the tables of an SQLite file, which it would have to migrate."""
    uri = f"file:{quote(str(database.resolve()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=KNOCK_s)) as opened:
        (found,) = opened.execute("SELECT version_num FROM alembic_version").fetchone()
    (mlflow,) = getattr(find_spec("mlflow"), "submodule_search_locations", None) or ("",)
    scripts = Path(mlflow, "store/db_migrations/versions").glob("*.py")
    steps = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    known = set(re.findall(r'^revision = "(\w+)"', steps, re.MULTILINE))
    behind = set(re.findall(r'^down_revision = "(\w+)"', steps, re.MULTILINE))
    if found in known - behind:
        return _judge(what, f"{place}, tables {found} as this MLflow's")
    return _judge(
        what,
        f"{place}: tables {found} of an {'older' if found in known else 'unknown'} MLflow",
        "the dtsinn and MLflow that made it, or `mlflow db upgrade` after a backup",
        fails=True,
    )


def _check_tracking(workspace: Workspace) -> Iterator[Finding]:
    from dtsinn.registry.tracking import environment

    environment.check()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    shown = without_passwords(uri)
    if uri.startswith(("http:", "https:")):
        from dtsinn.registry.tracking.remote import ask  # which imports MLflow, for seconds

        ask(uri)
        yield _judge("tracking server", f"{shown} answers")
    elif uri.startswith("sqlite:"):
        file = Path(uri.partition(":///")[2].partition("?")[0]).expanduser()
        if not file.is_file():
            raise InputError("MLFLOW_TRACKING_URI", got=shown, wanted="a file that exists")
        yield _check_schema("tracking database", file, shown)
    elif uri:
        place = urlsplit(uri)
        port = place.port or {"mysql": 3306}.get(place.scheme.partition("+")[0], 5432)
        socket.create_connection((place.hostname or "localhost", port), timeout=KNOCK_s).close()
        found = f"{shown}: something listens; whether it takes the user, each command says"
        yield _judge("tracking database", found)
    else:
        yield _judge("tracking", "in the workspace's own database")


def _check_ray(workspace: Workspace) -> Iterator[Finding]:
    """Whether a search finds its cluster, or can start one here: sockets, port, open files."""
    from dtsinn.search.engine.cluster import INSIDE_bytes, check_cluster, short_folder

    if address := os.environ.get("RAY_ADDRESS", ""):
        check_cluster(address.removeprefix("ray://"))
        yield _judge("Ray's cluster", f"{address} answers; --cluster auto")
    folder, usual = short_folder(), tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=folder) as inside, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"{inside}/{'s' * (INSIDE_bytes - 1 - len(Path(inside).name) - 1)}")
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
    found, long = f"sockets in {folder}", Path(folder) != Path(usual)
    if long and not os.environ.get("RAY_TMPDIR"):
        found += f"; TMPDIR is too long for them, with {len(os.fsencode(usual))} bytes"
        yield _judge("Ray", found, "a shorter TMPDIR, or RAY_TMPDIR, where it is not to be used")
    else:
        yield _judge("Ray", found)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= files < FILES:
        yield _judge("open files", f"at most {files}", "ulimit -n 8192")


def _check_browser(workspace: Workspace) -> Iterator[Finding]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    none = "no Chromium: tests of MLflow's page are passed over, no command needs it"
    yield _judge("browser", found or none, "" if found else "make browser")


CHECKS: dict[str, Callable[[Workspace], Iterator[Finding]]] = {
    "versions": _check_versions,
    "packages": _check_packages,
    "CPUs": _check_cpus,
    "GPUs": _check_gpus,
    "memory": _check_memory,
    "space": _check_space,
    "shared memory": _check_shared_memory,
    "TMPDIR": _check_temporary,
    "links": _check_links,
    "workspace": _check_workspace,
    "tracking": _check_tracking,
    "Ray": _check_ray,
    "browser": _check_browser,
}
"""What is looked at, in this order; the names stand for a check that itself fails."""


def read_cpu_limit(root: Path = CGROUP, own: Path = OWN_CGROUP) -> float | None:
    """Cores that the control group of this process may use; None without a limit.

    Args:
        root: Where control groups are mounted, of version 1 or 2.
        own: The kernel's file that names this process's.
    """
    limits = []
    for folder in _list_cgroups(root, own, "cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            limits.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError):
            if (old := int((folder / "cpu.cfs_quota_us").read_text())) > 0:
                limits.append(old / int((folder / "cpu.cfs_period_us").read_text()))
    return min(limits, default=None)


def read_memory_limit(root: Path = CGROUP, own: Path = OWN_CGROUP) -> int | None:
    """Bytes that the control group of this process may use; None without a limit.

    Args:
        root: As of :func:`read_cpu_limit`.
        own: The same.
    """
    limits = []
    for folder in _list_cgroups(root, own, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
                limits.append(int((folder / name).read_text()))
    return min(limits, default=None)


def _list_cgroups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of a process's control group and of those around it, which limit it too."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controller if controllers else root
        group = mount / path.lstrip("/")
        while group.is_relative_to(mount):
            yield group
            group = group.parent


def _find_existing_parent(path: Path) -> Path:
    """The folder in which a path would be made: the nearest that exists."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def _write_in(folder: Path) -> None:
    """Write into a folder, and leave nothing.

    Raises:
        OSError: It cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def _format_size(size: int) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.0f} MiB"
