"""What if Ray dies: it ends the one that others use, so this file is the last of them."""

from __future__ import annotations

import time

import psutil
import pytest
import ray

from dtsinn.search.engine import ray_adapters
from dtsinn.search.engine.cluster import has_nodes, ray_session


def test_a_search_whose_ray_died_is_interrupted(
    make_plan, sit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray waits for other nodes for ever; on one machine there will be none."""
    ray.shutdown()
    monkeypatch.setattr(ray_adapters, "LOOK_s", 0.1)
    monkeypatch.setenv("RAY_health_check_initial_delay_ms", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "200")
    hand = sit(make_plan())
    with ray_session(None):
        over = ray_adapters.DriverStopper(hand.driver)
        assert has_nodes()
        (raylet,) = [
            process
            for process in psutil.Process().children(recursive=True)
            if process.name() == "raylet"
        ]
        raylet.kill()
        until = time.monotonic() + 60
        while not over.stop_all():
            assert time.monotonic() < until, "Ray's only node is dead, and nobody saw it"
    assert hand.driver.outcome.over == "no node of Ray is left"
    assert hand.driver.outcome.interrupted
