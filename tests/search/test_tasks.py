"""Tasks on Ray: each is done once, and an error of one is its own."""

from __future__ import annotations

import operator

import pytest

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.progress import no_progress
from dtsinn.search.engine.tasks import share_on

REFUSES = "__import__('dtsinn.core.errors').core.errors.InputError('no such cell')"


def test_tasks_are_done_once_and_fail_in_our_words(ray_here: None) -> None:
    share = share_on("auto")  # the session that is there
    done = dict(share(operator.mul, 3, [1, 2, 5], no_progress))
    assert done == {0: 3, 1: 6, 2: 15}
    assert list(share(operator.mul, 3, [], no_progress)) == []
    with pytest.raises(InputError, match="no such cell"):
        list(share(exec, f"raise {REFUSES}", [{}], no_progress))
    with pytest.raises(RunError, match="a worker on the cluster auto died"):
        list(share(eval, "__import__('os')._exit(9)", [{}], no_progress))


def test_an_address_where_nobody_answers_is_refused() -> None:
    with pytest.raises(InputError, match=r"no Ray cluster at 127\.0\.0\.1:9"):
        share_on("127.0.0.1:9")
