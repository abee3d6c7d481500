"""Bodies and connections that do not end, in front of an application that would take them."""

import asyncio
import base64
import gc
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from dtsinn.registry.server import app as server_app
from dtsinn.registry.server import guard
from dtsinn.registry.server.app import PatientProtocol
from dtsinn.registry.server.guard import PAGE, SERVED, Guard

JSON = "/api/2.0/mlflow/runs/create"
FILE = "/api/2.0/mlflow-artifacts/artifacts/1/a"


def ask(path, parts, served=SERVED, method="PUT", headers=(), kind="http"):
    """What an application behind the guard receives, and what is answered."""
    taken, answers, left = [], [], list(parts)

    async def app(scope, receive, send):
        while True:
            message = await receive()
            taken.append(message.get("body", message["type"]))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        if not left:
            await asyncio.Event().wait()  # a client that says no more
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": body != b"end"}

    async def send(message):
        answers.append(message.get("status", message.get("code")))

    scope = {"type": kind, "path": path, "method": method, "headers": list(headers)}
    asyncio.run(Guard(app, None, served)(scope, receive, send))
    return taken, answers[0]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(guard, "BODY_LIMIT", 10)
    monkeypatch.setattr(guard, "FILE_LIMIT", 20)
    monkeypatch.setattr(guard, "PATIENCE_s", 0.02)
    monkeypatch.setattr(server_app, "HEADERS_s", 0.02)


def test_a_body_is_handed_on_whole_or_not_at_all():
    assert ask(JSON, [b"ab", b"c", b"end"]) == ([b"abcend"], 200)
    assert ask(JSON, [b"123456", b"123456", b"end"]) == ([], 413)
    assert ask(JSON, [b"ab"]) == ([], 408)
    for length in (b"11", b"-1", b"1e1", b"9" * 30, "²".encode()):
        assert ask(JSON, [b"end"], headers=[(b"content-length", length)]) == ([], 413)


def test_a_file_is_handed_on_as_it_comes_and_broken_off():
    assert ask(FILE, [b"a" * 15, b"end"]) == ([b"a" * 15, b"end"], 200)
    assert ask(FILE, [b"a" * 15, b"b" * 15, b"end"]) == ([b"a" * 15, "http.disconnect"], 413)
    assert ask(FILE, [b"a"]) == ([b"a", "http.disconnect"], 408)
    assert ask(FILE, [], headers=[(b"content-length", b"21")]) == ([], 413)
    assert ask(FILE, [b"a" * 15, b"end"], method="POST") == ([], 413)


@pytest.mark.parametrize("path", ["/health", "/favicon.ico", "/static-files/a/b.js"])
def test_what_asks_for_no_password_takes_no_body(path):
    """Which the application would keep in memory, however long."""
    assert ask(path, [b""], method="GET") == ([], 408)  # it does not come to its end
    read = asyncio.run(_empty(path))
    assert read == ([b""], 200)
    for method in ("POST", "PUT", "OPTIONS", "PATCH", "DELETE"):
        assert ask(path, [b"end"], method=method) == ([], 405)
    for header in ((b"content-length", b"1"), (b"transfer-encoding", b"chunked")):
        assert ask(path, [b"end"], method="GET", headers=[header]) == ([], 413)
    assert ask(path, [b"end"], method="GET") == ([], 413)
    assert ask(path, [], method="GET", kind="websocket") == ([], 1008)


async def _empty(path):
    """What is asked for without a body."""
    taken, answers = [], []

    async def app(scope, receive, send):
        taken.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        answers.append(message["status"])

    scope = {"type": "http", "path": path, "method": "GET", "headers": [(b"content-length", b"0")]}
    await Guard(app, None, SERVED)(scope, receive, send)
    return taken, answers[0]


@pytest.mark.parametrize("served", [SERVED, PAGE], ids=["team", "page"])
def test_what_two_servers_could_read_differently_is_refused(served):
    for path in (
        "/static-files/a\nb",
        "/health\n",
        "/\0",
        f"{JSON}\r",
        f"{FILE}\x7f",
        f"{FILE}\x9b",
    ):
        assert ask(path, [b"end"], served, method="GET") == ([], 400), path
    both = [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")]
    for path in (JSON, FILE, "/health"):
        assert ask(path, [b"end"], served, headers=both) == ([], 400), path


def test_a_client_does_not_take_what_is_closed_for_a_wrong_password():
    for path in (
        "/v1/traces", "/api/3.0/mlflow/traces", "/api/2.0/mlflow/traces/1/tags",
        "/ajax-api/2.0/mlflow/get-trace-artifact", "/api/3.0/mlflow/datasets/create",
        "/api/3.0/mlflow/datasets/search",
    ):  # fmt: skip
        assert ask(path, [b"end"], method="POST") == ([], 501), path
    assert ask("/ajax-api/3.0/mlflow/traces/search", [b"end"], method="POST") == ([b"end"], 200)


def test_a_password_holds_what_mlflow_lets_it_hold():
    def credentials(text):
        value = b"Basic " + base64.b64encode(text.encode())
        return guard._read_credentials({"headers": [(b"authorization", value)]})

    for password in ("a\ttab and more", "\x1besc", "ä€\xa0", "a:b", ""):
        assert credentials(f"anna:{password}") == ("anna", password)
    for password in ("a\0b", "a\rb", "a\nb"):
        with pytest.raises(guard.RefusedError):
            credentials(f"anna:{password}")


def test_of_two_that_write_one_new_file_the_second_finds_it(monkeypatch):
    kept, answers = {}, []

    class Owners:
        def may_write(self, path, user):
            return "r/gate/a" not in kept

    async def app(scope, receive, send):
        await asyncio.sleep(0)  # the other one is let in here, or waits
        await receive()
        kept["r/gate/a"] = True
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def user(scope):
        return "anna"

    async def receive():
        return {"type": "http.request", "body": b"a", "more_body": False}

    async def send(message):
        answers.extend([message["status"]] if "status" in message else [])

    async def both():
        guarded = Guard(app, Owners(), SERVED)
        monkeypatch.setattr(guarded, "_authenticate", user)
        paths = [f"{FILE[:-3]}{path}" for path in ("r/gate/a", "r/./gate//%61")]
        scopes = [{"type": "http", "path": p, "method": "PUT", "headers": []} for p in paths]
        await asyncio.gather(*(guarded(scope, receive, send) for scope in scopes))
        gc.collect()  # a refusal's traceback may hold its frames, and so the lock, in a circle
        assert not guarded._writing

    asyncio.run(both())
    assert sorted(answers) == [200, 403]


def test_one_persons_page_has_all_but_the_assistant():
    assistant = "/ajax-api/3.0/mlflow/assistant/config"
    assert ask(assistant, [b"end"], PAGE) == ([], 404)
    assert ask("/api/2.0/mlflow/webhooks", [b"end"], PAGE) == ([b"end"], 200)
    assert ask("/api/2.0/mlflow/webhooks", [b"end"]) == ([], 403)


def test_a_connection_that_asks_nothing_is_closed(monkeypatch):
    made: list[Any] = []

    async def app(scope, receive, send):
        made[-1]._give_up()  # the time for headers passes while it answers
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def talk(sent):
        config, state = Config(app, http=PatientProtocol, log_config=None), ServerState()
        config.load()

        def make():
            made.append(PatientProtocol(config, state, {}))
            return made[-1]

        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            got = await reader.read()  # until it is closed
            writer.close()
            return got

    assert asyncio.run(talk(b"GET / HTTP/1.1\r\nHost: a\r\n")) == b""
    assert asyncio.run(talk(b"")) == b""
    monkeypatch.setattr(server_app, "HEADERS_s", 60)
    whole = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert asyncio.run(talk(whole)).startswith(b"HTTP/1.1 204")
