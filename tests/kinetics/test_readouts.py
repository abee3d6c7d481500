"""What is read from a subject's regions, what cannot be, and how a single-tracer scan does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dtsinn.core.protocol import Protocol, load_protocol
from dtsinn.core.readout import METHODS
from dtsinn.core.tracer import load_tracer, tracer_names
from dtsinn.data.body import truth_of
from dtsinn.data.inputs import subject_inputs
from dtsinn.data.store import Samples, Store
from dtsinn.kinetics.agreement import agreement
from dtsinn.kinetics.curves import FEWEST_PIXELS, Regions, tracer_frames
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.kinetics.readouts import ReadoutMeter, plan_tracer
from dtsinn.simulation.single_tracer import RescanError, single_tracer_scans


def test_every_tracer_names_what_is_read_from_it() -> None:
    for name in tracer_names():
        readout = load_tracer(name).readout
        assert readout is not None, name
        assert readout.quantity == METHODS[readout.method]


def test_the_truth_has_no_error_and_a_scaled_answer_that_of_its_scale(
    brains: Store, heads: list[Samples]
) -> None:
    meter = SubjectMeter.of(brains)
    assert meter.lacking == {}
    for samples in heads:
        truth = truth_of(samples)
        scaled = truth * np.array([1.0, 1.2], np.float32)[:, None, None, None]
        read = meter.readouts.measure(samples, scaled)
        assert read.quantity == {"fmz": "V_T", "fdg": "Ki"}
        for tracer, factor in (("fmz", 1.0), ("fdg", 1.2)):
            pairs = read.values[tracer][read.quantity[tracer]]
            assert set(pairs) <= set(load_tracer(tracer).readout_regions)
            for found, true in pairs.values():
                assert found == pytest.approx(factor * true, rel=1e-5)
        large = "brainstem" not in read.small["fmz"] and "brainstem" in read.curves["fmz"]
        assert set(read.values["fmz"]) == ({"V_T", "DVR", "SUVR"} if large else {"V_T"})
        assert set(read.values["fdg"]) == {"Ki"}


def test_read_outs_are_those_of_the_kinetics_that_made_the_images(brains: Store) -> None:
    meter = SubjectMeter.of(brains)
    kinetics = brains.values("kinetics")
    names = brains.header.region_names[1:]
    for row, samples in enumerate(brains.subjects("test")):
        read = meter.readouts.measure(samples, truth_of(samples))
        found = read.values["fdg"]["Ki"]["frontal"][1]
        K1, k2, k3, _, vB = kinetics[row, 1, names.index("frontal")]
        # The blood volume and the spill of neighbours keep it from being the same.
        assert found == pytest.approx((1 - vB) * K1 * k3 / (k2 + k3), rel=0.25)


def test_small_regions_are_left_out_and_counted(brains: Store, heads: list[Samples]) -> None:
    read = SubjectMeter.of(brains).readouts.measure(heads[0], truth_of(heads[0]))
    labels = heads[0].regions_NYX
    assert labels is not None
    names = np.array(brains.header.region_names)
    sizes = dict(zip(names, np.bincount(labels.ravel(), minlength=len(names)), strict=True))
    for region in load_tracer("fmz").readout_regions:
        given = region in read.values["fmz"]["V_T"]
        assert given == (sizes[region] >= FEWEST_PIXELS)
        assert (region in read.small["fmz"]) == (0 < sizes[region] < FEWEST_PIXELS)


def test_a_region_is_read_whole_over_all_slices(heads: list[Samples]) -> None:
    labels = heads[0].regions_NYX
    assert labels is not None
    truth = truth_of(heads[0])
    regions = Regions.of(labels, ("outside",))
    for place in (0, len(regions.names) - 1):
        label = int(regions.names[place].removeprefix("region "))
        n, y, x = np.nonzero(labels == label)
        wanted = truth[n, :, :, y, x].mean(axis=0, dtype=float)
        np.testing.assert_allclose(regions.means(truth)[:, place], wanted, rtol=1e-5)


def test_only_the_judged_quantity_is_read_where_time_counts(
    brains: Store, heads: list[Samples]
) -> None:
    readouts = SubjectMeter.of(brains).readouts
    whole = readouts.measure(heads[0], heads[0].mixture_NTYX[:, None].repeat(2, axis=1) / 2)
    part = readouts.measure(
        heads[0], heads[0].mixture_NTYX[:, None].repeat(2, axis=1) / 2, judged_only=True
    )
    assert set(part.values["fmz"]) == {"V_T"}
    assert part.values["fmz"]["V_T"] == whole.values["fmz"]["V_T"]
    assert not part.curves


@pytest.mark.parametrize(
    ("tracers", "protocol", "inputs", "said"),
    [
        (("fmz", "fdg"), "p1", True, ("V_T", "Ki")),
        (("fmz", "fdg"), "p1", False, ("DVR", "no reference region here")),
        (("fmz", "fdg"), "scan40", True, ("V_T", "frames start at or after 20 min")),
        (("fmz", "mine"), "p1", True, ("V_T", "no read-out of tracer mine")),
        (("rb82", "fdg"), "p1", True, ("no frames of at most 30 s", "Ki")),
        (("rb82", "fdg"), "p2", True, ("K1", "Ki")),
        (("rb82", "fdopa"), "p2", False, ("no input functions", "SUVR")),
    ],
)
def test_what_cannot_be_read_has_a_reason(
    brains: Store,
    tracers: tuple[str, str],
    protocol: str,
    inputs: bool,
    said: tuple[str, str],
) -> None:
    header = dataclasses.replace(brains.header, tracers=tracers, protocol=load_protocol(protocol))
    for k in (0, 1):
        plan = plan_tracer(header, k, inputs)
        assert said[k] == plan.quantity if plan.quantity else said[k] in plan.reason
    no_regions = dataclasses.replace(header, region_names=())
    assert ReadoutMeter(no_regions, None).tells is False


def test_fits_of_k1_need_early_frames(scan: Protocol) -> None:
    assert tracer_frames(scan, 1, 6588.0).covers_first_pass(30, 120)
    assert not tracer_frames(load_protocol("p1"), 0, 1224.0).covers_first_pass(30, 120)


def test_a_single_tracer_scan_errs_little_and_is_the_same_again(
    brains: Store, heads: list[Samples]
) -> None:
    scans = single_tracer_scans(brains)
    assert not isinstance(scans, str)
    meter = SubjectMeter.of(brains)
    read = {}
    for samples in heads:
        alone = scans(samples)
        read[str(samples.subject_N[0])] = meter.readouts.measure(samples, alone)
        noise = alone - truth_of(samples)
        assert 0 < np.abs(noise.mean()) < 0.1 * noise.std()
        mixed = samples.mixture_NTYX - truth_of(samples).sum(axis=1)
        assert abs(np.corrcoef(noise[:, 0].ravel(), mixed.ravel())[0, 1]) < 0.05  # its own noise
    assert (scans(heads[0]) == scans(heads[0])).all()
    for tracer, quantity in (("fmz", "V_T"), ("fdg", "Ki")):
        values = {name: one.values[tracer][quantity] for name, one in read.items()}
        found = agreement(quantity, values)
        assert found is not None
        assert 0.3 < found.error < 5.0


def test_a_store_that_nothing_can_scan_again_says_why(
    brains: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for change, said in (
        ({"origin": "measured"}, "not simulated"),
        ({"labels": "osem"}, "labels are osem"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(brains, "header", dataclasses.replace(brains.header, **change))
            assert said in single_tracer_scans(brains)


def test_each_subject_is_held_against_the_store(brains: Store, heads: list[Samples]) -> None:
    scans, last = single_tracer_scans(brains), heads[-1]
    assert not isinstance(scans, str)
    for changed, said in (
        ({"tracers_NKTYX": truth_of(last) * 1.1}, "another truth"),
        ({"subject_N": np.array(["somebody"] * len(last.subject_N))}, "somebody"),
        ({"subject_N": np.array(["study-999"] * len(last.subject_N))}, "study-999"),
    ):
        with pytest.raises(RescanError, match=said):
            scans(dataclasses.replace(last, **changed))


def test_inputs_stand_by_subject(brains: Store) -> None:
    inputs = subject_inputs(brains)
    assert list(inputs) == list(dict.fromkeys(brains.subject_N))
