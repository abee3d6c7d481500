"""The server of a team: real PostgreSQL, real S3, real processes, and passwords."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import psutil
import psycopg
import pytest
import sqlalchemy
from alembic import command
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import InitialBase, _get_alembic_config  # type: ignore[attr-defined]
from sqlalchemy import make_url

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.promotion.promotion import promote
from dtsinn.registry.references import resolve
from dtsinn.registry.server import logins
from dtsinn.registry.server.access import ADMIN, is_loopback, read_password
from dtsinn.registry.server.server import TeamServer, serve
from dtsinn.registry.tracking.postgres import hold_database, parse_backend
from dtsinn.registry.tracking.tracker import connect
from dtsinn.registry.versions import find_alias, list_models
from tests.conftest import HALF_TRAINED
from tests.support.postgres import PASSWORD as DATABASE_PASSWORD
from tests.support.postgres import QUOTED
from tests.support.s3 import BUCKET
from tests.support.writers import Load, flood

ROOT = Path(__file__).resolve().parents[2]

PASSWORD = "correct horse % battery"
ANNAS = "annas own password"
NAME = "pet.example"
PREFIX = "team/runs"
CONFIG = GateConfig(suite=None)


@dataclass
class Team:
    """A running ``dtsinn server``."""

    job: subprocess.Popen
    url: str
    log: Path
    database: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(
        self, path, user=ADMIN, password=PASSWORD, host=None, body=None, method=None, data=None,
        **more,
    ):  # fmt: skip
        """Status and answer of one request; without a user, without a password."""
        headers = {"Host": host or f"127.0.0.1:{self.port}", "Content-Type": "application/json"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        if user:
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        data = json.dumps(body).encode() if body else data
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def family(self):
        """The command and all its children."""
        me = psutil.Process(self.job.pid)
        return [me, *me.children(recursive=True)]


def start(database, folder, *options, **environment) -> Team:
    """``dtsinn server`` as it is typed, once it says its address."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "dtsinn.cli", "server", "--port", "0", *options]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    settings = plain | {"DTSINN_BACKEND": database} | environment
    with log.open("wb") as err:
        job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, env=settings)
    said = job.stdout.readline().decode()
    assert said.startswith("http://127.0.0.1:"), log.read_text()[-2000:]
    return Team(job, said.split()[0], log, database)


def stop(team: Team, sign: signal.Signals) -> None:
    """End it, and see that nothing of it is left."""
    family = team.family()
    assert len(family) >= 2
    team.job.send_signal(sign)
    with team.job.stdout:
        assert team.job.wait(60) == (-sign if sign is signal.SIGKILL else 0)
    assert psutil.wait_procs(family, 10)[1] == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", team.port)) != 0


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """The admin's password in a file that nobody else can read."""
    path = tmp_path_factory.mktemp("secret") / "admin"
    path.touch(mode=0o600)
    path.write_text(f"{PASSWORD}\n")
    return path


@pytest.fixture(scope="module")
def team(postgres_session, s3_session, secret, tmp_path_factory):
    team = start(
        postgres_session.database(), tmp_path_factory.mktemp("team"),
        "--artifacts", s3_session.url(PREFIX), "--allowed-host", NAME.title(),
        "--admin-password-file", str(secret), "--behind-proxy", "127.0.0.1",
        **s3_session.environment,
    )  # fmt: skip
    try:
        yield team
    finally:
        stop(team, signal.SIGTERM)


@pytest.fixture(scope="module")
def anna(team):
    """Asks the server as a member who is no admin."""
    made = team.ask("/api/2.0/mlflow/users/create", body={"username": "anna", "password": ANNAS})
    assert made[0] == 200

    def ask(path, **more):
        return team.ask(path, "anna", ANNAS, **more)

    return ask


@pytest.fixture
def member(team, anna, monkeypatch):
    """Lets this process speak to the server as one of its users."""

    def let_in(user=ADMIN, password=PASSWORD):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", team.url)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    let_in()
    return let_in


@pytest.fixture
def tracker(member, tmp_path):
    return connect(Workspace(tmp_path / "here"))


def test_a_model_lives_on_the_server(
    tracker, member, team, registered, packages, store, s3_session, tmp_path
):
    first = registered(packages.weak)
    assert registered(packages.weak) == first
    there = Workspace(tmp_path / "another machine")
    assert promote(tracker, there, first, store, CONFIG).verdict == "passed"
    floor, promoted = list_models(tracker)
    assert (floor.aliases, promoted.tags["gate.verdict"]) == (("previous",), "promoted")

    # Anna owns none of it, and works on all of it.
    member("anna", ANNAS)
    for missing in ("nosuch/1", "nosuch@champion"):
        with pytest.raises(InputError, match=f"no model is called nosuch; wanted .*{first.name}"):
            resolve(missing, there)
    champion = f"models:/{first.name}@champion"
    for ref in (champion, "best", f"run:{first.run_key}"):
        assert resolve(ref, there).path == there.packages / first.digest
    loaded = mlflow.pyfunc.load_model(champion)
    tracers = loaded.predict(next(store.subjects("gate")).mixture_NTYX)
    assert tracers.shape[1:3] == (2, 6)
    second = registered(packages.strong)
    assert promote(tracker, there, second, store, CONFIG).verdict == "passed"
    assert find_alias(tracker, first.name, "champion").version == second.version
    assert find_alias(tracker, first.name, "previous").version == first.version
    with pytest.raises(MlflowException, match="Permission denied"):
        tracker.client.delete_registered_model(first.name)
    assert len(list_models(tracker)) == 3

    files = s3_session.files()
    kept = {files.cat_file(path) for path in files.find(f"{BUCKET}/{PREFIX}")}
    for package in (packages.weak, packages.strong):
        assert (package / "weights.safetensors").read_bytes() in kept
    assert not (tmp_path / "here").exists()
    member()
    tracker.client.delete_registered_model(first.name)
    assert list_models(tracker) == []


@pytest.mark.slow
def test_a_search_lands_on_the_server_also_after_a_wrong_password(
    team, member, small_path, tmp_path
):
    (tmp_path / "space.yaml").write_text(
        "{base: invertible, fixed: {steps: 20, validate_every: 20, model.width: 8},"
        " parameters: {model.blocks: {choice: [1, 2]}}}"
    )
    (tmp_path / "gate.yaml").write_text(f"suite: null\n{HALF_TRAINED}")

    def dtsinn(*words):
        command = [sys.executable, "-m", "dtsinn.cli", *words, "--workspace", "here"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)

    search = [
        "search", str(small_path), "--space", "space.yaml", "--gate", "gate.yaml",
        "--name", "first", "--trials", "2", "--concurrent", "1",
    ]  # fmt: skip
    member(password="not the right one")
    kept = dtsinn(*search)
    assert "2 finished" in kept.stdout, kept.stderr
    told = [line for line in kept.stderr.splitlines() if "refuses this user or password" in line]
    assert told[0].startswith("tracking failed, kept for later: the tracking server http://")
    member()
    done = dtsinn(*search, "--resume")
    assert "against dtsinn-fmz-fdg-p1/1: better" in done.stdout, done.stdout + done.stderr
    runs = connect(Workspace(tmp_path / "here")).search("tags.`dtsinn.key` LIKE 'first%'")
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 3
    out = dtsinn("export", "best", "--no-calibration", "--out", "mine")
    assert (out.returncode, (tmp_path / "mine" / "model.onnx").is_file()) == (0, True), out.stderr
    assert not (tmp_path / "here" / "mlflow.db").exists()


def test_nobody_gets_in_without_a_password(team):
    for path in (
        "/",
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
        "/api/2.0/mlflow-artifacts/artifacts",
        "/api/2.0/mlflow/users/current",
        "/graphql",
    ):
        assert team.ask(path, user=None)[0] == 401, path
        assert team.ask(path, password=f"{PASSWORD}?")[0] == 401, path
    assert team.ask("/", password="password1234")[0] == 401
    asked = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert team.ask(asked)[0] == 200
    assert team.ask(asked, host=NAME)[0] == 200
    for host in ("evil.example", f"{NAME}.evil.example", f"evil.{NAME}", "192.168.0.7:5000"):
        assert team.ask(asked, host=host)[0] == 403, host


def test_no_secret_stands_where_others_look_and_no_jobs_run(team, s3_session):
    hidden = (PASSWORD, QUOTED, DATABASE_PASSWORD, s3_session.environment["AWS_SECRET_ACCESS_KEY"])
    lines = [" ".join(process.cmdline()) for process in team.family()]
    assert any("uvicorn" in line for line in lines)
    assert not any("mlflow.server.jobs" in line for line in lines)
    for text in (*lines, team.log.read_text()):
        assert not any(word in text for word in hidden)


def test_a_password_opens_neither_a_shell_nor_the_servers_files(team):
    """Of MLflow's own, what would act as the server's account for everybody who may log a run."""
    assistant = "/ajax-api/3.0/mlflow/assistant"
    for path in (f"{assistant}/config", f"{assistant}/providers", f"{assistant}/sessions/1/stream"):
        assert team.ask(path)[0] == 404, path
    assert team.ask(f"{assistant}/message", body={"message": "ls", "context": {}})[0] == 404
    for path in ("/ajax-api/3.0/mlflow/gateway/supported-models", "/gateway/mlflow/v1/models"):
        assert team.ask(path)[0] == 501, path
    for prefix in ("api", "ajax-api"):
        for name in ("artifact_location", "artifactLocation"):
            for place in ("file:///etc", "/etc", f"s3://{BUCKET}/other", "mlflow-artifacts://a/b"):
                asked = f"/{prefix}/2.0/mlflow/experiments/create"
                status, told = team.ask(asked, body={"name": "elsewhere", name: place})
                assert (status, b"takes no artifact_location" in told) == (400, True), place
    found = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=elsewhere"
    assert team.ask(found)[0] == 404


API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(scope="module")
def admins(team):
    """Run, experiment and version of the admin, with a file."""
    number = json.loads(team.ask(f"{API}/experiments/create", body={"name": "admins"})[1])
    run = json.loads(team.ask(f"{API}/runs/create", body=number)[1])["run"]["info"]
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert team.ask(f"{FILES}/{root}/w.bin", method="PUT", data=b"GOOD")[0] == 200
    assert team.ask(f"{API}/registered-models/create", body={"name": "m"})[0] == 200
    source = {"name": "m", "source": run["artifact_uri"], "run_id": run["run_id"]}
    assert team.ask(f"{API}/model-versions/create", body=source)[0] == 200
    return number["experiment_id"], run["run_id"], root


OUTSIDE = (
    f"s3://{BUCKET}/private", f"s3://{BUCKET}/{PREFIX}/../../private", "file:///etc", "/etc", "etc",
    f"s3://{BUCKET}/{PREFIX}-2", f"S3://{BUCKET}/private", "http://127.0.0.1:1/x", "ftp://h/x",
    "dbfs:/x", "hdfs://h/x", "gs://b/x", "mlflow-artifacts:/../private", "mlflow-artifacts:/x",
    "mlflow-artifacts:/%2e%2e/private", "mlflow-artifacts:/%252e%252e/private",
    "mlflow-artifacts://h/x", f"http://h{FILES}/../private", "runs:/0/x", "models:/m-0", "",
)  # fmt: skip
"""Places that are not the server's own."""


def test_what_members_name_lies_in_the_servers_own_place(team, anna, admins, s3_session):
    """Whatever is asked for, and whatever stands in the database already."""
    _, run, root = admins
    s3_session.files().pipe(f"{BUCKET}/private/secret.txt", b"PRIVATE")
    s3_session.files().pipe(f"{BUCKET}/private/attachments/secret.txt", b"PRIVATE")
    for place in OUTSIDE:
        for asked in ({"source": place}, {"source": place, "run_id": run}):
            for prefix in (API, API.replace("api", "ajax-api")):
                made = anna(f"{prefix}/model-versions/create", body={"name": "m", **asked})
                assert made[0] in (400, 403), place
    read = {
        "file": f"/get-artifact?run_id={run}&path=",
        "files": f"{API}/artifacts/list?run_id={run}&path=",
        "version": "/model-versions/get-artifact?name=m&version=1&path=",
    }
    assert anna(f"{read['version']}w.bin") == (200, b"GOOD")
    for odd in ("what%3F.png", "a%5Cb.png"):
        assert team.ask(f"{FILES}/{root}/{odd}", method="PUT", data=b"ODD")[0] == 200
        assert anna(f"{read['file']}{odd}") == (200, b"ODD"), odd
    with psycopg.connect(team.database, autocommit=True) as database:
        for place in OUTSIDE:
            database.execute("UPDATE runs SET artifact_uri = %s WHERE run_uuid = %s", [place, run])
            change = "UPDATE model_versions SET source = %s, storage_location = %s WHERE name = 'm'"
            database.execute(change, [place, place])
            for path in ("secret.txt", "private/secret.txt", "../private/secret.txt", "passwd"):
                for what, asked in read.items():
                    status, said = anna(f"{asked}{path}")
                    assert b"PRIVATE" not in said, (what, place, path)
                    assert b"root:" not in said, (what, place, path)
                    assert status >= 400 or what == "files", (what, place, path)
        own = f"mlflow-artifacts:/{root}"
        database.execute("UPDATE runs SET artifact_uri = %s WHERE run_uuid = %s", [own, run])
        database.execute(change, [own, own])
    assert anna(f"{read['file']}w.bin") == (200, b"GOOD")


def test_a_run_is_changed_by_whoever_made_it(team, anna, admins):
    experiment, run, root = admins
    mine = {"experiment_id": experiment, "user_id": ADMIN}
    hers = json.loads(anna(f"{API}/runs/create", body=mine)[1])["run"]["info"]
    place = hers["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert anna(f"{FILES}/{place}/a.bin", method="PUT", data=b"A")[0] == 200
    assert anna(f"{API}/runs/log-metric", body=_metric(hers["run_id"]))[0] == 200
    other = root.partition("/")[2]
    for path in (
        f"{root}/w.bin", f"{root}/./w.bin", f"{root}//w.bin", f"{root}/x/%2e%2e/w.bin",
        f"{root}/%252e/w.bin", f"{root}/new.bin", f"{place}/../../{other}/w.bin", "x.bin",
        f"{experiment}/models/m-{32 * '0'}/artifacts/x", f"workspaces/default/{root}/w.bin",
    ):  # fmt: skip
        for files in (FILES, FILES.replace("api", "ajax-api", 1)):
            assert anna(f"{files}/{path}", method="PUT", data=b"EVIL")[0] in (400, 403), path
            assert anna(f"{files}/{path}", method="DELETE")[0] in (400, 403), path
        for way in ("create", "complete", "abort"):
            uploads = f"/api/2.0/mlflow-artifacts/mpu/{way}/{path}"
            assert anna(uploads, body={"path": "w.bin", "num_parts": 1})[0] in (400, 403, 501), path
    upload = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=w.bin"
    assert anna(upload, data=b"EVIL")[0] == 403
    assert team.ask(f"/get-artifact?run_id={run}&path=w.bin") == (200, b"GOOD")
    # Whoever promotes leaves the gate's report there, once.
    assert anna(f"{FILES}/{root}/gate/a.json", method="PUT", data=b"1")[0] == 200
    assert anna(f"{FILES}/{root}/gate/a.json", method="PUT", data=b"2")[0] == 403

    tag = {"run_id": run, "key": "dtsinn.key", "value": "x"}
    changes = {
        "log-metric": _metric(run), "log-batch": {"run_id": run, "tags": [tag]},
        "log-parameter": tag, "set-tag": tag, "delete-tag": tag, "delete": tag,
        "update": {"run_id": run, "status": "FAILED"}, "log-inputs": {"run_id": run},
        "outputs": {"run_id": run}, "log-model": {"run_id": run, "model_json": "{}"},
        "restore": tag,
    }  # fmt: skip
    for name, body in changes.items():
        for prefix in (API, API.replace("api", "ajax-api")):
            for field in ("run_id", "runId"):
                named = {field if key == "run_id" else key: body[key] for key in body}
                refused = (403,) if field == "run_id" else (400, 403)
                assert anna(f"{prefix}/runs/{name}", body=named)[0] in refused, (name, field)
    found = json.loads(team.ask(f"{API}/runs/get?run_id={run}")[1])["run"]
    assert (found["info"]["status"], found["data"].get("metrics", [])) == ("RUNNING", [])
    for path, body in {
        "experiments/update": {"experiment_id": experiment, "new_name": "hers"},
        "experiments/delete": {"experiment_id": experiment},
        "registered-models/rename": {"name": "m", "new_name": "hers"},
    }.items():
        assert anna(f"{API}/{path}", body=body)[0] == 403, path
    # Hers she may delete, in an experiment of somebody else too.
    assert anna(f"{API}/runs/delete", body={"run_id": hers["run_id"]})[0] == 200

    model = {"experiment_id": experiment, "source_run_id": run}
    assert anna(f"{API}/logged-models", body=model)[0] == 403
    made = json.loads(team.ask(f"{API}/logged-models", body=model)[1])["model"]["info"]["model_id"]
    for method, path, body in (
        ("PATCH", f"{API}/logged-models/{made}", {"model_id": made, "status": 2}),
        ("PATCH", f"{API}/logged-models/{made}/tags", {"tags": [{"key": "a", "value": "b"}]}),
        ("DELETE", f"{API}/logged-models/{made}", None),
        ("PUT", f"{FILES}/{experiment}/models/{made}/artifacts/MLmodel", {"a": 1}),
    ):
        assert anna(path, method=method, body=body)[0] == 403, path


def _metric(run):
    return {"run_id": run, "key": "a", "value": 1.0, "timestamp": 1}


def test_a_body_is_not_taken_before_the_password(team):
    """Nor more of it than a request needs."""

    def answer(headers, sent):
        with socket.create_connection(("127.0.0.1", team.port), timeout=60) as client:
            client.sendall(f"POST {API}/experiments/create HTTP/1.1\r\n{headers}\r\n".encode())
            with suppress(ConnectionError):
                client.sendall(sent)
            with client.makefile("rb") as got:
                return int(got.readline().split()[1])

    login = base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode()
    host = f"Host: 127.0.0.1:{team.port}\r\nContent-Type: application/json\r\n"
    allowed = f"{host}Authorization: Basic {login}\r\n"
    chunked = "Transfer-Encoding: chunked\r\n"
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    # The first are answered while their bodies are still on the way.
    assert answer(f"{host}Content-Length: 629145600\r\n", b"{") == 401
    assert answer(f"{host}{chunked}", b"1\r\n{\r\n") == 401
    assert answer(f"{host}{chunked}Content-Length: 5\r\n", b"0\r\n\r\n") == 400
    assert answer(f"{allowed}Content-Length: 629145600\r\n", b"{") == 413
    assert answer(f"{allowed}{chunked}", 17 * chunk) == 413
    assert answer(f"{allowed}X: {'x' * 100_000}\r\n", b"") == 400
    assert answer(f"{allowed}Content-Length: 2\r\n", b"{}") == 400  # MLflow's: no name


def test_what_dtsinn_does_not_need_is_closed(team, anna):
    for path in (
        "/ajax-api/3.0/jobs/", "/api/3.0/mlflow/mcp-servers",
        f"{API}/webhooks", f"{API}/webhooks/1/test", "/api/3.0/mlflow/scorers/register",
        "/ajax-api/3.0/mlflow/scorer/invoke", "/ajax-api/3.0/mlflow/genai/evaluate/invoke",
        "/ajax-api/3.0/mlflow/issues/invoke", "/ajax-api/3.0/mlflow/demo/generate",
        "/api/3.0/mlflow/prompt-optimization/jobs", "/ajax-api/2.0/mlflow/gateway-proxy",
        "/ajax-api/2.0/mlflow/runs/create-promptlab-run",
        f"{API}/artifacts/presigned-upload-url", f"{API}/artifacts/presigned-download-url",
    ):  # fmt: skip
        for ask in (team.ask, anna):
            assert ask(path, body={"url": "http://127.0.0.1:1"})[0] == 403, path
        assert team.ask(path, user=None)[0] == 401, path
    for path in ("gateway/secrets/create", "gateway/endpoints/create"):
        assert anna(f"/api/3.0/mlflow/{path}", body={"name": "a"})[0] == 501
    told = json.loads(anna("/api/3.0/mlflow/server-info")[1])
    assert not told["multipart_uploads_enabled"]
    assert not told["multipart_downloads_enabled"]


def test_whoever_guesses_passwords_is_held_up_and_nobody_else(team, anna):
    asked = f"{API}/experiments/search?max_results=1"

    def guess(user, number, address="198.51.100.7"):
        return team.ask(asked, user, f"guess {number} of many", X_Forwarded_For=address)[0]

    assert [guess("anna", number) for number in range(logins.TRIES)] == [401] * logins.TRIES
    assert guess("anna", "one more") == 429
    assert guess("anna", 0) == 401  # an old job's: no guess more
    assert team.ask(asked, "anna", f"{ANNAS}?", X_Forwarded_For="198.51.100.7")[0] == 429
    assert team.ask(asked, "anna", f"{ANNAS}?", X_Forwarded_For="198.51.100.8")[0] == 401
    assert anna(asked)[0] == 200
    assert team.ask(asked)[0] == 200
    assert guess("nobody", "another", "192.0.2.1") == 401


def test_who_is_not_let_in_reads_why_in_one_line(team, member, tmp_path, monkeypatch, forks):
    place = Workspace(tmp_path / "here")
    member(password="not the right one")
    monkeypatch.chdir(tmp_path)
    with forks.dtsinn("models") as job:
        out, err = job.communicate()
    told = f"dtsinn: the tracking server {team.url} refuses this user or password; try MLFLOW_"
    assert (job.returncode, out) == (1, "")
    assert err.startswith(told)
    assert err.count("\n") == 1
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")
    with pytest.raises(RunError, match="asks for a user and a password"):
        connect(place)
    member()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.url.replace("127.0.0.1", "127.0.0.2"))
    with pytest.raises(RunError, match=r"does not answer; got Connection refused; try MLFLOW_"):
        connect(place)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.url.replace("127.0.0.1", "127.1"))
    with pytest.raises(RunError, match=r"refuses.*--allowed-host"):
        connect(place)
    assert not place.root.exists()


def test_what_is_no_mlflow_is_told_apart(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", s3.endpoint)
    with pytest.raises(RunError, match="answers, but not as MLflow does; got status"):
        connect(Workspace(tmp_path / "here"))


def test_a_database_that_is_gone_is_told_and_missed_no_longer_than_it_is(
    team, member, postgres_session, tmp_path
):
    name = make_url(team.database).database
    before = list_models(connect(Workspace(tmp_path / "here")))
    with psycopg.connect(postgres_session.admin, autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        try:
            asked = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            owner.execute(asked, [name])
            with pytest.raises(RunError, match=r"cannot answer now; got status 5\d\d; try its log"):
                connect(Workspace(tmp_path / "here"))
        finally:
            owner.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    assert list_models(connect(Workspace(tmp_path / "here"))) == before


@pytest.mark.parametrize(
    "load",
    [
        # More at a time than the 15 connections that MLflow would have by itself.
        Load(name="few", writers=16, processes=1, reports=2, metrics=2, tellings=2),
        pytest.param(Load(name="many", writers=200, tellings=2), marks=pytest.mark.slow),
    ],
    ids=lambda load: f"{load.writers} writers",
)
def test_concurrent_reports_are_all_there_once(load, team, member, tmp_path):
    outcome = flood(load, tmp_path, team.database)
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.rows == load.writers * load.reports * load.metrics
    assert outcome.runs == load.writers


@pytest.mark.slow
def test_it_comes_back_with_everything_and_ends_whole(postgres, s3, tmp_path):
    """Killed, then interrupted; the second start needs no password, and changes none."""
    words = ("--artifacts", s3.url("again"))
    (tmp_path / "scratch").mkdir()
    given = {"DTSINN_ADMIN_PASSWORD": PASSWORD, "TMPDIR": str(tmp_path / "scratch")}
    first = start(postgres, tmp_path, *words, **given)
    try:
        assert list((tmp_path / "scratch").iterdir()) == []  # no file with the database's password
        asked = "/api/2.0/mlflow/experiments/create"
        assert first.ask(asked, body={"name": "kept"})[0] == 200
    finally:
        stop(first, signal.SIGKILL)
    second = start(postgres, tmp_path, *words, DTSINN_ADMIN_PASSWORD=ANNAS)
    try:
        found = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=kept"
        assert second.ask(found)[0] == 200
        assert second.ask(found, password=ANNAS)[0] == 401
        assert "another password since an earlier start" in second.log.read_text()
    finally:
        stop(second, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(4))
def test_an_end_while_it_starts_leaves_nothing(attempt, postgres, tmp_path):
    """The signal comes as the child appears, which its parent may not have noted yet."""
    code = "import dtsinn.registry.server.server\nfrom dtsinn.cli import main\n"
    code += "print(flush=True)\nmain()"
    words = [sys.executable, "-c", code, "server", "--no-auth", "--port", "0"]
    settings = os.environ | {"DTSINN_BACKEND": postgres, "DTSINN_ARTIFACTS": str(tmp_path / "kept")}
    with (tmp_path / "log").open("wb") as log:
        job = subprocess.Popen(words, env=settings, stdout=subprocess.PIPE, stderr=log)
    assert job.stdout.readline() == b"\n"  # no helper of an import is taken for the child
    me = psutil.Process(job.pid)
    while not (children := me.children()):
        assert job.poll() is None
    job.send_signal(signal.SIGTERM)
    out, _ = job.communicate(timeout=60)
    assert (job.returncode, out) == (0, b"")
    alive = psutil.wait_procs(children, 10)[1]
    for child in alive:
        os.killpg(child.pid, signal.SIGKILL)
    assert alive == []


def test_the_tables_of_an_older_mlflow_are_brought_up_to_date_when_asked(
    postgres, tmp_path, monkeypatch
):
    """Its first revisions, with a row, as MLflow's own migrations made them."""
    url = parse_backend(postgres)
    engine = sqlalchemy.create_engine(url)
    InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config("")
        config.attributes["connection"] = connection
        command.upgrade(config, "728d730b5ebd")
        old = "INSERT INTO experiments (name, lifecycle_stage) VALUES ('old', 'active')"
        connection.execute(sqlalchemy.text(old))
    engine.dispose()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres)
    with pytest.raises(InputError, match=r"of an older MLflow; .*dtsinn server --upgrade"):
        connect(Workspace(tmp_path))
    with hold_database(url, upgrade=True):
        pass
    found = connect(Workspace(tmp_path)).client.get_experiment_by_name("old")
    assert found.lifecycle_stage == "active"
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'future'"))
    engine.dispose()
    with (
        pytest.raises(InputError, match=r"of another MLflow; got future"),
        hold_database(url, upgrade=True),
    ):
        pass


@pytest.fixture
def order(postgres, s3):
    """Changes one thing of a server that would start, and has it refused."""

    def refuse(message, **changes):
        wanted = {"backend": postgres, "artifacts": s3.url("a"), "admin_password": PASSWORD}
        before = psutil.Process().children(recursive=True)
        with pytest.raises(InputError, match=message) as told:
            serve(TeamServer(**({**wanted, "port": 0} | changes)), announce=print, note=print)
        assert "\n" not in str(told.value)
        assert QUOTED not in str(told.value)
        assert psutil.Process().children(recursive=True) == before

    return refuse


NO_DATABASE = {
    "": r"no database for the server; wanted postgresql://.*; try DTSINN_BACKEND=",
    "sqlite:///here.db": r"got sqlite:///here.db; wanted postgresql://.*; try dtsinn ui",
    "postgresql://u:hush@127.0.0.1:1/db": r"db on 127.0.0.1:1 cannot be used; got .*refused",
    "postgresql://u:hush@there.invalid/db": r"db on there.invalid cannot be used; got .*resolve",
}


@pytest.mark.parametrize("url", NO_DATABASE)
def test_a_wrong_database_is_refused(order, url):
    order(NO_DATABASE[url], backend=url)


def test_a_wrong_password_or_name_of_the_database_is_refused(order, postgres_session):
    order("password authentication failed", backend=postgres_session.url("db0", "wrong"))
    order('database "missing" does not exist', backend=postgres_session.url("missing"))
    owner = postgres_session.admin
    name = make_url(postgres_session.database()).database
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} OWNER TO postgres".encode())
    order("may make no tables .*; try ALTER DATABASE", backend=postgres_session.url(name))


def test_a_wrong_place_for_artifacts_is_refused(order, s3, tmp_path, monkeypatch):
    order("got nothing; wanted s3://BUCKET/PREFIX or an absolute folder", artifacts="")
    order("got runs; wanted s3://", artifacts="runs")
    for end in "?#":
        order(rf"got s3://b/a\{end}b; wanted a place without \{end}", artifacts=f"s3://b/a{end}b")
    order("there is no bucket missing; try making it", artifacts="s3://missing/a")
    (tmp_path / "file").touch()
    order("cannot be written; got", artifacts=str(tmp_path / "file" / "a"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    order("bucket bucket cannot be written; got .*SignatureDoesNotMatch", artifacts=s3.url("a"))
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    order("got Could not connect.*; try MLFLOW_S3_ENDPOINT_URL", artifacts=s3.url("a"))


def test_a_wrong_address_is_refused(order):
    for host in ("0.0.0.0", "::", socket.gethostname()):
        if host == socket.gethostname() and is_loopback(host):
            continue
        order("change everything without a password", host=host, auth=False, allowed_hosts=(NAME,))
    order("clients call it by a name; try --allowed-host", host="0.0.0.0")
    order("no address 'nowhere.invalid'", host="nowhere.invalid")
    order("--allowed-host; got '\\*'", allowed_hosts=("*",))
    order("--behind-proxy; got 'proxy' does not appear to be an IP", proxy="proxy")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        order(f"port {taken} cannot be used on 127.0.0.1; got Address already", port=taken)


def test_the_first_start_needs_a_password_that_others_cannot_read(order, tmp_path, monkeypatch):
    order("nobody has a password yet.*; try DTSINN_ADMIN_PASSWORD", admin_password="")
    assert read_password(None) == ""
    path = tmp_path / "secret"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o640)
    with pytest.raises(InputError, match=r"others can read .*; try chmod 600"):
        read_password(path)
    path.chmod(0o600)
    assert read_password(path) == PASSWORD
    for wrong in ("short", "two\nlines of it", "nicht für jeden", ""):
        path.write_text(wrong)
        with pytest.raises(InputError, match="at least 12, printable ASCII"):
            read_password(path)
    monkeypatch.setenv("DTSINN_ADMIN_PASSWORD", "password1234")
    with pytest.raises(InputError, match="the one that everybody knows"):
        read_password(None)
    with pytest.raises(InputError, match="cannot be read; got No such file"):
        read_password(tmp_path / "missing")


def test_what_the_extra_brings_is_named_when_it_is_missing(tmp_path):
    """An installation without them: links to all that is installed here, but for these."""
    installed = Path(sysconfig.get_paths()["purelib"])
    for path in installed.iterdir():
        if not path.name.startswith(("psycopg", "boto3", "flask_wtf")):
            (tmp_path / path.name).symlink_to(path)
    code = """
from dtsinn.core.errors import InputError
from dtsinn.registry.server.access import basic_auth
from dtsinn.registry.server.server import check_destination
from dtsinn.registry.tracking.postgres import hold_database, parse_backend
for ask in (
    lambda: parse_backend("postgresql://u@h/d"),
    lambda: check_destination("s3://bucket/a"),
    lambda: basic_auth("", "").__enter__(),
):
    try:
        ask()
    except InputError as error:
        print(error)
"""
    path = f"{ROOT}{os.pathsep}{tmp_path}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        f'{what} is not installed; try pip install "dtsinn[server]"'
        for what in ("psycopg", "boto3", "Flask-WTF")
    ], done.stderr
