"""Laws of the compartment models: against an ODE solver, in their limits, linear and exact."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid, quad, solve_ivp

from dtsinn.core.protocol import load_protocol
from dtsinn.core.tracer import PARAMETERS, load_tracer
from dtsinn.simulation.input_function import blood_curve, parent_fraction, plasma_and_blood
from dtsinn.simulation.kinetics import frame_averages, impulse_response, time_grid

EDGES = np.array(load_protocol("p1").frame_edges)
INJECTION = 600.0


def curves(name: str, kinetics: list[list[float]], edges: np.ndarray = EDGES, dose: float = 1.0):
    """Frame averages [R, T] of kinetics under a tracer's own input, injected late."""
    tracer = load_tracer(name)
    knots = np.array([*edges, INJECTION, INJECTION + 60 * tracer.input.delay_min])
    times = time_grid(edges[-1], knots)
    plasma, blood = plasma_and_blood(tracer.input, tracer.decay_constant, INJECTION, times)
    return frame_averages(
        np.array(kinetics), times, dose * plasma, dose * blood, tracer.decay_constant, edges
    )


def solved(name: str, kinetics: list[float]) -> np.ndarray:
    """[T] the same by scipy: decay-corrected compartments in minutes, decay multiplied on after."""
    tracer = load_tracer(name)
    K1, k2, k3, k4, vB = kinetics

    def change(minutes: float, state: np.ndarray) -> list[float]:
        now = np.array([minutes])
        total = blood_curve(tracer.input, now)[0]
        parent = total * parent_fraction(tracer.input.parent, now)[0]
        free, bound = state[:2]
        decay = np.exp(-tracer.decay_constant * 60 * minutes)
        seen = decay * ((1 - vB) * (free + bound) + vB * total)
        return [
            K1 * parent - (k2 + k3) * free + k4 * bound,
            k3 * free - k4 * bound,
            seen,  # its integral, for the frame average
        ]

    since = (EDGES[EDGES >= INJECTION] - INJECTION) / 60
    delay = tracer.input.delay_min
    # From the arrival on: before it nothing happens, and its kink would cost the solver steps.
    answer = solve_ivp(
        change, (delay, since[-1]), [0, 0, 0], t_eval=since[1:], rtol=1e-9, atol=1e-10,
        max_step=0.5, method="DOP853",
    )  # fmt: skip
    integral = np.concatenate([[0.0], answer.y[2]])
    return np.diff(integral) / np.diff(since)


@pytest.mark.parametrize("name", ["fmz", "fdg"])
@pytest.mark.parametrize(
    "kinetics",
    [
        [0.31, 0.055, 0.0, 0.0, 0.05],
        [0.157, 0.174, 0.118, 0.0, 0.05],
        [0.110, 0.191, 0.102, 0.0094, 0.045],
        [1.5, 2.7, 0.4, 0.2, 0.0],
    ],
)
def test_frames_agree_with_an_ode_solver(name: str, kinetics: list[float]) -> None:
    ours, theirs = curves(name, [kinetics])[0], solved(name, kinetics)
    empty = int((EDGES[1:] <= INJECTION).sum())
    assert np.all(ours[:empty] == 0.0)
    np.testing.assert_allclose(ours[empty:], theirs, rtol=1e-4)


def test_a_frame_is_the_integral_of_the_impulse_response_convolved_with_the_input() -> None:
    tracer = load_tracer("fdg")
    kinetics = np.array([[0.11, 0.19, 0.10, 0.009, 0.0]])
    share, rate = (part[0] for part in impulse_response(kinetics))

    def response(t: float) -> float:
        """∫ of the decayed impulse response from 0 to t, s."""
        decayed = rate + tracer.decay_constant
        return float((share * -np.expm1(-decayed * t) / decayed).sum())

    def reach(t: float, end: float) -> float:
        plasma, _ = plasma_and_blood(tracer.input, tracer.decay_constant, INJECTION, np.array([t]))
        return float(plasma[0]) * response(end - t)

    start, end = 1200.0, 1350.0
    arrival = INJECTION + 60 * tracer.input.delay_min
    whole = quad(reach, arrival, end, args=(end,), limit=200, epsrel=1e-8)[0]
    before = quad(reach, arrival, start, args=(start,), limit=200, epsrel=1e-8)[0]
    ours = curves("fdg", kinetics.tolist())[0, list(EDGES).index(start)]
    assert ours == pytest.approx((whole - before) / (end - start), rel=1e-5)


@pytest.mark.parametrize("k4", [0.0, 0.05, 0.2])
def test_without_k3_two_tissues_are_one(k4: float) -> None:
    one, limit, zero = curves(
        "fmz",
        [
            [0.3, 0.1, 0.0, 0.0, 0.05],
            [0.3, 0.1, 1e-9, k4, 0.05],
            [0.3, 0.1, 0.0, k4, 0.05],
        ],
    )
    np.testing.assert_allclose(limit, one, rtol=1e-5)
    np.testing.assert_array_equal(zero, one)


def test_a_vanishing_k4_becomes_trapping() -> None:
    trapped, nearly = curves("fdg", [[0.16, 0.17, 0.12, 0.0, 0.05], [0.16, 0.17, 0.12, 1e-9, 0.05]])
    np.testing.assert_allclose(nearly, trapped, rtol=1e-6)


def test_equal_rates_are_no_pole() -> None:
    """k2 = k4 and k3 -> 0 brings both exponentials together."""
    one, near = curves("fmz", [[0.3, 0.1, 0.0, 0.1, 0.0], [0.3, 0.1, 1e-10, 0.1, 0.0]])
    np.testing.assert_allclose(near, one, rtol=1e-4)


def test_no_exchange_at_all_leaves_blood_alone() -> None:
    tissue, blood = curves("fmz", [[0.0, 0.0, 0.0, 0.0, 0.05], [0.0, 0.0, 0.0, 0.0, 0.999]])
    np.testing.assert_allclose(tissue / 0.05, blood / 0.999, rtol=1e-12)


def test_curves_are_linear_in_the_dose_and_in_delivery() -> None:
    kinetics = [0.16, 0.17, 0.12, 0.01, 0.05]
    np.testing.assert_allclose(
        curves("fdg", [kinetics], dose=3.0), 3.0 * curves("fdg", [kinetics]), rtol=1e-12
    )
    single, double = curves("fdg", [[0.1, 0.17, 0.12, 0, 0], [0.2, 0.17, 0.12, 0, 0]])
    np.testing.assert_allclose(double, 2 * single, rtol=1e-12)


def test_splitting_a_frame_changes_no_activity_even_off_the_grid() -> None:
    kinetics = [[0.31, 0.055, 0, 0, 0.05], [0.16, 0.17, 0.12, 0, 0.05]]
    coarse = curves("fmz", kinetics, np.array([0.0, 1200.0, 1800.0]))
    edges = np.array([0.0, 613.237, 700.1, 1200.0, 1333.333, 1800.0])
    fine = curves("fmz", kinetics, edges)
    counts = fine * np.diff(edges)
    np.testing.assert_allclose(counts[:, :3].sum(1), coarse[:, 0] * 1200, rtol=1e-5)
    np.testing.assert_allclose(counts[:, 3:].sum(1), coarse[:, 1] * 600, rtol=1e-5)


def test_every_shipped_tissue_has_curves_that_make_sense() -> None:
    for name in ("fmz", "fdg"):
        tissues = load_tracer(name).tissues
        rows = [[getattr(tissue, p) for p in PARAMETERS] for tissue in tissues.values()]
        result = curves(name, rows)
        assert np.isfinite(result).all()
        assert (result[:, EDGES[1:] > INJECTION] > 0).all()
    fmz, fdg = load_tracer("fmz"), load_tracer("fdg")
    for region in ("frontal", "parietal", "temporal", "occipital"):
        cortex, white = fmz.tissues[region], fmz.tissues["white"]
        assert cortex.K1 / cortex.k2 > 3 * white.K1 / white.k2
        assert fdg.tissues[region].k3 > fdg.tissues["white"].k3


def test_many_subjects_at_once_are_each_of_them_alone() -> None:
    rng = np.random.default_rng(2)
    kinetics = rng.uniform(0.01, 0.3, (3, 4, 5))
    times = time_grid(EDGES[-1], EDGES)
    plasma, blood = np.maximum(rng.normal(5, 1, (2, 3, times.size)), 0.1)
    plasma[0, :500] = blood[0, :500] = 0.0  # the first subject's tracer arrives late
    decay = load_tracer("fdg").decay_constant
    together = frame_averages(kinetics, times, plasma, blood, decay, EDGES)
    assert together.shape == (3, 4, EDGES.size - 1)
    for one in range(3):
        alone = frame_averages(kinetics[one], times, plasma[one], blood[one], decay, EDGES)
        np.testing.assert_allclose(together[one], alone, rtol=1e-12)


def test_a_closed_system_keeps_what_it_took_up() -> None:
    """Without k2 and blood, tissue holds the integral of what was delivered, less decay."""
    tracer = load_tracer("fdg")
    edges = np.linspace(0.0, 3600.0, 361)
    times = time_grid(3600.0, edges)
    plasma, _ = plasma_and_blood(tracer.input, tracer.decay_constant, 0.0, times)
    rows = np.array([[0.1, 0.0, 0.0, 0.0, 0.0], [0.1, 0.0, 0.2, 0.1, 0.0]])
    held = frame_averages(rows, times, plasma, plasma, tracer.decay_constant, edges)
    undecayed = plasma * np.exp(tracer.decay_constant * times)
    taken = 0.1 / 60 * cumulative_trapezoid(undecayed, times, initial=0)
    middle = (edges[1:] + edges[:-1]) / 2
    wanted = np.interp(middle, times, taken) * np.exp(-tracer.decay_constant * middle)
    np.testing.assert_allclose(held[:, 30:], np.stack([wanted, wanted])[:, 30:], rtol=2e-4)


def test_a_scan_that_begins_late_shows_what_a_whole_one_does() -> None:
    rng = np.random.default_rng(3)
    kinetics = rng.uniform(0.01, 0.3, (4, 5))
    times = time_grid(EDGES[-1], EDGES)
    plasma, blood = rng.uniform(1, 5, (2, times.size))
    decay = load_tracer("fdg").decay_constant
    whole = frame_averages(kinetics, times, plasma, blood, decay, EDGES)
    late = frame_averages(kinetics, times, plasma, blood, decay, EDGES[3:])
    np.testing.assert_allclose(late, whole[:, 3:], rtol=1e-12)
