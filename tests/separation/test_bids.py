"""The output folder keeps the rules of BIDS, as its schema has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bidsschematools import schema as bids
from bidsschematools.validator import validate_bids

import dtsinn
from tests.support.independent_scan import Head, write_labels, write_scan


@pytest.fixture
def outputs(model: Path, scan: Path, head: Head, tmp_path: Path) -> Path:
    labels = write_labels(tmp_path, head)
    return dtsinn.separate(scan, model, tmp_path / "out", rois=labels).folder


def test_every_image_has_a_name_that_bids_knows(outputs: Path) -> None:
    """By the rule for PET derivatives: the package's own validator knows raw data alone."""
    schema = bids.load_schema()
    rule = schema.rules.files.deriv.imaging.pet_pet_volumetric
    order = [schema.objects.entities[entity].name for entity in schema.rules.entities]
    known = {schema.objects.entities[entity].name for entity in rule.entities}
    images = sorted(outputs.rglob("*_pet.*"))
    assert len(images) == 6
    for path in images:
        *pairs, ending = path.name.split("_")
        suffix, _, extension = ending.partition(".")
        keys = [pair.partition("-")[0] for pair in pairs]
        assert keys == sorted(keys, key=order.index)
        assert set(keys) <= known
        assert path.parent.name in rule.datatypes
        assert suffix in rule.suffixes
        assert f".{extension}" in rule.extensions
    ignored = (outputs / ".bidsignore").read_text().split()
    for path in outputs.rglob("*"):
        plain = path.is_dir() or path in images or path.name == "dataset_description.json"
        assert plain or path.name == ".bidsignore" or any(path.match(one) for one in ignored)


def test_raw_rules_of_the_validator_hold_for_the_tracers(outputs: Path) -> None:
    for path in (*outputs.rglob("*_desc-*"), *outputs.glob("*.html"), outputs / "verdict.json"):
        path.unlink()
    assert validate_bids([outputs])["path_tracking"] == []


def test_sidecars_have_what_pet_needs(outputs: Path) -> None:
    schema = bids.load_schema()
    groups = ("PETHardware", "PETRadioChemistry", "PETTime", "PETReconstruction")
    rules = [schema.rules.sidecars.pet[group] for group in groups]
    rules.append(schema.rules.sidecars.derivatives.common_derivatives.ImageDerivatives)
    needed = [
        name
        for rule in rules
        for name, level in rule.fields.items()
        if (level if isinstance(level, str) else level.level) == "required"
    ]
    sidecars = sorted(outputs.rglob("*_pet.json"))
    assert len(sidecars) == 3
    for path in sidecars:
        content = json.loads(path.read_text())
        assert set(needed) <= set(content), path.name
        for name, value in content.items():
            if name in schema.objects.metadata:
                rule: dict[str, Any] = schema.objects.metadata[name].to_dict()
                rule.pop("format", None)  # of units and times; not JSON schema's own
                jsonschema.validate(value, rule)


def test_a_tracer_gets_no_dose_that_may_be_both_and_no_json_holds_nan(
    model: Path, head: Head, tmp_path: Path
) -> None:
    said = {
        "InjectedRadioactivity": 700,
        "InjectedMass": [float("nan"), 2.0],
        "ReconMethodName": {"PatientName": "Joanna"},
    }
    scan = write_scan(tmp_path, head, fields=said)
    text = scan.with_name("sub-07_pet.json").read_text()
    scan.with_name("sub-07_pet.json").write_text(text.replace("2.0", "1e999"))
    found = dtsinn.separate(scan, model, tmp_path / "out")
    for path in found.folder.rglob("*.json"):
        assert "Joanna" not in path.read_text()
        content = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
        if "_trc-" in path.name and "_pet" in path.name:
            assert "InjectedRadioactivity" not in content
            assert content["SkullStripped"] is False
            assert content["InjectedMass"] == "n/a"


def test_the_data_set_names_its_model(outputs: Path, model: Path) -> None:
    content = json.loads((outputs / "dataset_description.json").read_text())
    assert content["DatasetType"] == "derivative"
    (made,) = content["GeneratedBy"]
    digest = json.loads((outputs / "verdict.json").read_text())["model"]["digest"]
    assert digest in made["Description"]
    assert digest == dtsinn.Separator.load(model).digest
