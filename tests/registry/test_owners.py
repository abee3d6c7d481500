"""Whose a run is that nobody is noted for."""

import time
from types import SimpleNamespace

import pytest
from flask import Flask
from mlflow.server import handlers
from sqlalchemy import create_engine, text

from dtsinn.registry.server import owners as module
from dtsinn.registry.server.owners import Owners

ANNA = SimpleNamespace(id=7, is_admin=False)
ADMIN = SimpleNamespace(id=1, is_admin=True)


@pytest.fixture
def engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/users.db")
    yield engine
    engine.dispose()


@pytest.fixture
def store(tracker, monkeypatch):
    found = tracker.client._tracking_client.store
    monkeypatch.setattr(handlers, "_tracking_store", found)
    return found


def begun(store, at_s):
    return store.create_run("0", "anna", int(1000 * at_s), [], "a run").info.run_id


def test_a_run_without_an_owner_is_everybodys_only_if_it_is_older_than_the_table(engine, store):
    Owners(engine)
    owners = Owners(engine)  # a later start of the server
    old, young = (begun(store, time.time() + shift) for shift in (-60, 60))
    model = store.create_logged_model("0").model_id
    assert owners.may_change(old, ANNA)
    for thing in (young, model, "0" * 32, "beginning"):
        assert not owners.may_change(thing, ANNA), thing
        assert owners.may_change(thing, ADMIN)
    owners.record(young, ANNA)
    assert owners.may_change(young, ANNA)


def test_what_nobody_is_noted_for_is_not_made(engine, store, monkeypatch):
    owners, flask = Owners(engine), Flask(__name__)
    monkeypatch.setattr(module, "_find_user", lambda: ANNA)
    made = []

    @flask.post("/run", endpoint="_create_run")
    def run():
        made.append(begun(store, time.time()))
        return {"run": {"info": {"run_id": made[-1]}}}

    @flask.post("/model", endpoint="_create_logged_model")
    def model():
        made.append(store.create_logged_model("0").model_id)
        return {"model": {"info": {"model_id": made[-1]}}}

    flask.after_request(owners._note_owner)
    client = flask.test_client()
    for path in ("/run", "/model"):
        assert client.post(path).status_code == 200
        assert owners.may_change(made[-1], ANNA)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE dtsinn_owners"))
    for path in ("/run", "/model"):
        answer = client.post(path)
        assert (answer.status_code, answer.json["error_code"]) == (500, "INTERNAL_ERROR")
        assert "\n" not in answer.json["message"]
    assert store.get_run(made[2]).info.lifecycle_stage == "deleted"
    assert made[3] not in {found.model_id for found in store.search_logged_models(["0"])}
