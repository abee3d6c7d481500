"""Who guesses passwords is held up, and what lies in a server's own place."""

import pytest
import werkzeug.security

from dtsinn.registry.server.confinement import is_below
from dtsinn.registry.server.guard import SERVED, _hash_random, _verify
from dtsinn.registry.server.logins import (
    ENTRIES,
    TRIES,
    TRIES_EACH,
    KNOWN_s,
    Logins,
    REFUTED_s,
    WINDOW_s,
    network_of,
)

HOME, AWAY = "10.0.0.1", "203.0.113.9"


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def logins(clock):
    return Logins(clock)


def guess(logins, user, address, times):
    for number in range(times):
        word = f"{address} {logins._clock()} {number}"
        assert logins.wait(user, address, word) == 0
        logins.note(user, address, word, right=False)


def test_a_guesser_waits_until_the_first_guess_is_forgotten(logins, clock):
    guess(logins, "anna", AWAY, 1)
    clock.now = 100
    guess(logins, "anna", AWAY, TRIES - 1)
    assert logins.wait("anna", AWAY, "new") == WINDOW_s - 100
    clock.now = WINDOW_s + 1
    assert logins.wait("anna", AWAY, "new") == 0


def test_a_right_password_ends_the_count(logins):
    guess(logins, "anna", HOME, TRIES - 1)
    logins.note("anna", HOME, "word", right=True)
    guess(logins, "anna", HOME, TRIES)
    assert logins.wait("anna", HOME, "new") > 0


def test_one_wrong_password_is_one_guess(logins, clock):
    """A job that was started before the password was changed keeps nobody out."""
    for number in range(3 * TRIES_EACH):
        clock.now = number / 2
        if not logins.is_refuted("anna", f"10.0.0.{number % 30}", "old one"):
            assert logins.wait("anna", f"10.0.0.{number % 30}", "old one") == 0
            logins.note("anna", f"10.0.0.{number % 30}", "old one", right=False)
    for user in ("anna", "bob"):
        assert logins.wait(user, "10.0.0.1", "right one") == 0
    guess(logins, "anna", HOME, TRIES - 1)
    assert logins.wait("anna", HOME, "another") > 0
    assert logins.wait("anna", HOME, "old one") == 0  # checked again, and costs no guess


def test_a_wrong_password_is_checked_again_after_a_while_or_a_change(logins, clock):
    def fails():
        logins.note("anna", HOME, "secret", right=False)
        assert logins.is_refuted("anna", HOME, "secret")

    fails()
    assert not logins.is_refuted("anna", HOME, "Secret")
    assert not logins.is_refuted("bob", HOME, "secret")
    assert not logins.is_refuted("anna", AWAY, "secret")  # nobody learns what others tried
    clock.now += REFUTED_s + 1
    assert not logins.is_refuted("anna", HOME, "secret")
    fails()
    logins.doubt()
    assert not logins.is_refuted("anna", HOME, "secret")


def test_nobody_locks_others_out(logins, clock):
    """Neither a user by guessing for them from elsewhere, nor a network by guessing from it."""
    logins.note("anna", HOME, "word", right=True)
    for number in range(TRIES_EACH // TRIES):
        guess(logins, "anna", f"203.0.113.{number}", TRIES)
    assert logins.wait("anna", "203.0.113.99", "new") > 0
    assert logins.wait("anna", HOME, "new") == 0
    assert logins.wait("bob", AWAY, "new") == 0
    for number in range(TRIES_EACH // TRIES):
        guess(logins, f"user {number}", HOME, TRIES)
    assert logins.wait("another", HOME, "new") > 0
    assert logins.wait("anna", HOME, "new") == 0
    clock.now = KNOWN_s + 1
    assert logins.wait("anna", HOME, "new") == 0


@pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi", "ignore:No path_separator")
def test_a_guess_takes_as_long_for_a_user_as_for_nobody(monkeypatch, tmp_path):
    """It takes one hash of the same kind, whether there is a user of the name or not."""
    from mlflow.server import auth

    hashed, hash_of = [], werkzeug.security._hash_internal

    def count(method, salt, password):
        hashed.append(method)
        return hash_of(method, salt, password)

    store = auth.SqlAlchemyStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(auth, "store", store)
    monkeypatch.setattr(werkzeug.security, "_hash_internal", count)
    store.init_db(f"sqlite:///{tmp_path}/users.db")
    store.create_user("anna", "the right password")
    nobodys, taken = _hash_random(), {}
    for name in ("anna", "nobody"):
        hashed.clear()
        assert _verify(name, "a guess of many", nobodys) is None
        taken[name] = [*hashed]
    store.engine.dispose()
    assert taken["nobody"] == taken["anna"]
    assert len(taken["anna"]) == 1


def test_it_remembers_no_more_than_it_may(logins):
    for number in range(ENTRIES):
        logins.note(f"user {number}", f"address {number}", "word", right=False)
    assert len(logins._wrong) <= ENTRIES


def test_a_network_of_one_machine_counts_as_one_address():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of(HOME) == HOME
    assert network_of("unix socket") == "unix socket"


@pytest.mark.parametrize(
    "root", ["s3://bucket/team/runs", "file:///data/runs", "mlflow-artifacts:"]
)
def test_what_lies_below_a_root(root):
    for inner in ("", "/", "/1/a b/c", "/1/%20/c", "/a..b/..c", "/what?.png", "/a#b", "/a\\b.png"):
        assert is_below(root + inner, root), inner
    for inner in (
        "-2/a", "2", "/../x", "/a/../../x", "/%2e%2e/x", "/%252e%252e/x", "/%2E./x", "/..",
        "/a\\..\\x", "/a\0b", "/a%0ab", "?/a",
    ):  # fmt: skip
        assert not is_below(root + inner, root), inner
    assert not is_below("/etc", root)
    assert not is_below("", root)
    for end in "?#\\":
        assert not is_below(f"{root}{end}/a", f"{root}{end}"), end


def test_paths_that_are_served_are_named_one_by_one():
    for path in ("/", "/api/2.0/mlflow/runs/create", "/ajax-api/2.0/mlflow/logged-models/search"):
        assert SERVED.fullmatch(path)
    for path in (
        "//", "/api/2.0/mlflow/webhooks", "/api/2.0/mlflow/runs/../webhooks", "/api/2.0/mlflow/x",
        "/api/2.0/mlflow-artifacts/presigned/a", "/ajax-api/2.0/mlflow/runs/create-promptlab-run",
        "/x/api/2.0/mlflow/runs/create", "/api/9.0/mlflow/runs/create",
    ):  # fmt: skip
        assert not SERVED.fullmatch(path) or ".." in path, path
