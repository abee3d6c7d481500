"""Real processes that start at once: forks of one that has imported everything already.

A fresh ``dtsinn`` imports for seconds of CPU time. A server does so once and starts no thread;
each process is a fork of it, with a session, standard streams, an environment and an exit status
of its own, and is signalled and killed like any other. The server ends, and what it forked with
it, when its socket closes: when the tests are over, or died.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Self

IMPORTED = (
    "matplotlib.backends.backend_agg",
    "mlflow.pyfunc",
    "ray.tune",
    "sklearn.ensemble",
    "torch",
    "torch._dynamo",  # wanted by every optimiser, as the next is by its graphs
    "torch.fx.experimental.symbolic_shapes",
    "torchmetrics.functional.image",
    "tests.support.exports",
    "dtsinn.cli",
    "dtsinn.workflows.evaluation_log",
    "dtsinn.workflows.pipeline",
    "dtsinn.workflows.warm_start",
    "dtsinn.search.engine.tuner",
    "dtsinn.registry.copying.copy",
    "dtsinn.registry.lineage",
    "dtsinn.registry.promotion.promotion",
    "dtsinn.registry.registration",
    "dtsinn.training.run",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
)
HARMLESS = "jemalloc_bg_thd"
"""A thread of Arrow's allocator, which restarts it in forks."""
NUMBER_bytes = 8
ROOT = Path(__file__).parents[2]


class Forked:
    """A process, as :class:`subprocess.Popen` would show it with three unbuffered pipes."""

    def __init__(self, server: socket.socket, request: Mapping[str, object]) -> None:
        pipes = [os.pipe() for _ in range(4)]
        mine = [pipes[0][1], *(pipe[0] for pipe in pipes[1:])]
        theirs = [pipes[0][0], *(pipe[1] for pipe in pipes[1:])]
        text = json.dumps(request).encode()
        socket.send_fds(server, [len(text).to_bytes(NUMBER_bytes)], theirs)
        server.sendall(text)
        for one in theirs:
            os.close(one)
        self.pid = int.from_bytes(_read(server, NUMBER_bytes))
        self.returncode: int | None = None
        self.stdin = FileIO(mine[0], "w")
        self.stdout, self.stderr, self._status = (FileIO(one) for one in mine[1:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()

    def poll(self) -> int | None:
        """The exit status, negative after a signal; None as long as it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: It has not come.
        """
        if self.returncode is None:
            self._await(timeout, self._status)
            told = self._status.read(NUMBER_bytes)
            assert told, "the server of forks is gone"
            self.returncode = int.from_bytes(told, signed=True)
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Close its input, read the rest of its output and errors, and wait for its end.

        Raises:
            subprocess.TimeoutExpired: It has not come.
        """
        deadline = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        self.stdin.close()
        read = {self.stdout: b"", self.stderr: b""}
        still = {stream for stream in read if not stream.closed}
        while still:
            for stream in self._await(left(), *still):
                some = stream.read(1 << 16)
                read[stream] += some
                if not some:
                    still.remove(stream)
                    stream.close()
        self.wait(left())
        return read[self.stdout].decode(), read[self.stderr].decode()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def _await(self, timeout: float | None, *streams: FileIO) -> list[FileIO]:
        """Those of the streams that can be read."""
        with selectors.DefaultSelector() as selector:
            for stream in streams:
                selector.register(stream, selectors.EVENT_READ, stream)
            ready = [key.data for key, _ in selector.select(timeout)]
        if not ready:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return ready


class Forks:
    """Starts processes."""

    def __init__(self, server: socket.socket, exports: Path | None) -> None:
        self._server, self._exports = server, exports

    def dtsinn(self, *arguments: object, **environment: str) -> Forked:
        """The console script, with these variables more in its environment."""
        return self.script(_script(), *arguments, **environment)

    def script(self, path: Path, *arguments: object, **environment: str) -> Forked:
        """As ``python path``, with these variables more in its environment."""
        return self._begin("", [str(path), *map(str, arguments)], environment)

    def python(self, code: str, *arguments: object, **environment: str) -> Forked:
        """As ``python -c``, with these variables more in its environment."""
        return self._begin(code, ["-c", *map(str, arguments)], environment)

    def _begin(self, code: str, argv: list[str], more: Mapping[str, str]) -> Forked:
        # Ray reads it when it is imported, which the server has done; where a Ray of this process
        # has set it since, a fork would ask for tokens without sending its own.
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
        environment = {**inherited, **more}
        request = {
            "code": code,
            "argv": argv,
            "environment": environment,
            "folder": str(Path.cwd()),
            "exports": self._exports and str(self._exports),
        }
        return Forked(self._server, request)


def fresh_dtsinn(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """The console script as a user starts it, with pipes and these variables more."""
    command = [str(_script()), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=os.environ | environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def _script() -> Path:
    return Path(sys.executable).with_name("dtsinn")


@contextmanager
def fork_server(exports: Path | None = None) -> Iterator[Forks]:
    """Run the server until the context ends.

    Args:
        exports: Where forks keep what torch exports (:mod:`.exports`).
    """
    ours, theirs = socket.socketpair()
    code = "import sys; from tests.support.forked import main; main(int(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(theirs.fileno())]
    # One thread each, as two processes share the cores; and so that none is left behind by a fork.
    alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | alone,
        stdin=subprocess.PIPE,  # as those of forks, which use the same objects on top
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    ) as job:
        theirs.close()
        try:
            with ours:
                yield Forks(ours, exports)
        finally:
            told = job.communicate()[1].decode()
    assert job.returncode == 0, told


def main(server_fd: int) -> None:
    """Serve forks, and do in each what is asked of it."""
    with socket.socket(fileno=server_fd) as server:
        request = _serve(server)
    if request is None:
        return
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    if request["exports"]:
        _keep_exports(Path(request["exports"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = request["argv"]
    if request["code"]:
        exec(request["code"], {"__name__": "__main__"})
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def _keep_exports(folder: Path) -> None:
    """Keep there what torch exports."""
    import torch

    from tests.support.exports import export_kept

    torch.onnx.export = partial(export_kept, folder)


def _serve(server: socket.socket) -> dict[str, Any] | None:
    """Fork at every request and return it in the fork; nothing in the server, once it is over."""
    _import()
    running: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in running:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    pid, status_fd = running.pop(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    with suppress(BrokenPipeError), FileIO(status_fd, "w") as status:
                        status.write(code.to_bytes(NUMBER_bytes, signed=True))
                    continue
                begin, fds, _, _ = socket.recv_fds(server, NUMBER_bytes, 4)
                if not begin:
                    for pid, _ in running.values():
                        os.kill(pid, signal.SIGKILL)
                    return None
                request: dict[str, Any] = json.loads(_read(server, int.from_bytes(begin)))
                pid = os.fork()
                if not pid:
                    os.setsid()
                    for standard, given in enumerate(fds[:3]):
                        os.dup2(given, standard)
                    for one in (*fds, *running, *(status_fd for _, status_fd in running.values())):
                        os.close(one)
                    return request
                for one in fds[:3]:
                    os.close(one)
                watched = os.pidfd_open(pid)
                running[watched] = pid, fds[3]
                selector.register(watched, selectors.EVENT_READ)
                server.sendall(pid.to_bytes(NUMBER_bytes))


def _import() -> None:
    """Import what processes need; no thread may have been started, as forks would miss it."""
    for name in IMPORTED:
        importlib.import_module(name)
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert sum(name != HARMLESS for name in names) == 1, f"threads at a fork: {names}"
    gc.freeze()  # collections in forks pass it over, and copy no memory


def _read(server: socket.socket, size: int) -> bytes:
    """So many bytes."""
    read = b""
    while len(read) < size:
        some = server.recv(size - len(read))
        assert some, "the server of forks is gone"
        read += some
    return read
