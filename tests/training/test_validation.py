"""What a validation reports beside the PSNR: what a clinic reads, as far as the store can tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtsinn.data.body import truth_of
from dtsinn.data.store import Store
from dtsinn.evaluation.kinetics import kinetic_metrics, summarise_kinetics
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.build import build_network
from dtsinn.networks.rivals.linear import LinearConfig
from dtsinn.training.validation import validate, validate_all

KINETIC = {"val_kinetic_error", "val_kinetic_bias", "val_conservation"}
CPU = torch.device("cpu")


def test_a_validation_reads_what_an_evaluation_reads(small_store: Store) -> None:
    network = build_network(LinearConfig(), small_store.header.protocol.frames)  # an equal split
    meter = SubjectMeter.of(small_store)
    found = validate(small_store, network, CPU, 1.0, meter)
    measures = {
        str(samples.subject_N[0]): meter.measure(
            samples, np.stack([samples.mixture_NTYX / 2] * 2, axis=1)
        )
        for samples in small_store.subjects("val")
    }
    whole = summarise_kinetics(measures, small_store.header.protocol, meter.lacking)
    assert whole is not None
    assert found["val_kinetic_error"] == pytest.approx(whole.kinetic_error, rel=1e-5)
    assert found["val_kinetic_bias"] == pytest.approx(whole.kinetic_bias, rel=1e-5)
    assert whole.conservation is not None
    assert found["val_conservation"] == pytest.approx(whole.conservation.regions, rel=1e-4)
    assert found["val_kinetic_error"] > 20  # half of a mixture is no tracer


def test_the_truth_has_no_kinetic_error_and_loses_no_activity(small_store: Store) -> None:
    meter = SubjectMeter.of(small_store)
    measures = {
        str(samples.subject_N[0]): meter.measure_judged(samples, truth_of(samples))
        for samples in small_store.subjects("val")
    }
    found = kinetic_metrics(measures, small_store.header.protocol)
    assert found.keys() == KINETIC
    assert max(found.values()) < 1e-4


def test_what_a_store_cannot_tell_is_left_out(small_store: Store, tiny_store: Store) -> None:
    network = build_network(LinearConfig(context=0), tiny_store.header.protocol.frames)
    meter = SubjectMeter.of(tiny_store)
    found = validate(tiny_store, network, CPU, 1.0, meter)
    assert meter.untold
    assert not {"val_kinetic_error", "val_kinetic_bias"} & found.keys()
    both = validate_all((tiny_store, tiny_store), network, CPU, 1.0, (meter, meter))
    assert both["val_psnr_2"] == both["val_psnr"]
    assert not SubjectMeter.of(small_store).untold
