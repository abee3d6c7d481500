"""Scanner files: all that ship, and what is refused in a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dtsinn.core.config import config_names, from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.simulation.scanner.scanner import Scanner, load_scanner


def altered(**changes: Any) -> dict[str, Any]:
    return to_mapping(load_scanner("ge-dls")) | changes


@pytest.mark.parametrize("name", config_names("scanners"))
def test_every_shipped_scanner_loads_and_survives_a_round_trip(name: str) -> None:
    scanner = load_scanner(name)
    assert scanner.name == name
    assert from_mapping(Scanner, to_mapping(scanner), name) == scanner
    # The levels are 5, 10, 20 % of noise, which goes as one over the root of the trues, and a
    # 90 min scan of a brain brings between one and some hundred million of them to a slice.
    low, mid, high = (scanner.trues_of(level) for level in ("low", "mid", "high"))
    assert [low / mid, mid / high] == pytest.approx([4.0, 4.0], rel=0.05)
    assert 1e6 < high < low < 2e8


def test_the_default_scanner_is_dpetsteps() -> None:
    scanner = load_scanner("ge-dls")
    assert (scanner.angles, scanner.iterations, scanner.subsets) == (336, 5, 16)
    assert (scanner.scatter_fraction, scanner.randoms_fraction) == (0.289, 0.02)
    assert (scanner.resolution_fwhm_mm, scanner.postfilter_fwhm_mm) == (5.1, 6.0)


def test_a_users_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(altered(name="mine", trues={"clinical": 3e6})))
    assert load_scanner(str(path)).trues_of("clinical") == 3e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"angles": 100}, "'ge-dls': subsets; got 16; wanted a divisor of the 100 angles"),
        ({"subsets": 0}, "'ge-dls': subsets; got 0; wanted a number above 0"),
        ({"bin_width_mm": -2.0}, "bin_width_mm; got -2.0; wanted a number above 0 mm"),
        ({"scatter_fraction": 1.0}, "scatter_fraction; got 1.0; wanted less than 1"),
        ({"randoms_fraction": -0.1}, "randoms_fraction; got -0.1; wanted a number, 0 or above"),
        ({"trues": {}}, "trues; got no level; wanted at least one noise level"),
        ({"trues": {"low": 0.0}}, "trues.low; got 0.0; wanted a number above 0 counts per slice"),
        ({"sources": {}}, "sources: resolution_fwhm_mm has none; wanted a source, or uncited"),
        ({"angels": 336}, "unknown key; got angels; try angles"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        from_mapping(Scanner, altered(**changes), "mine.yaml")
    assert message in str(error.value)


def test_a_source_of_nothing_is_refused() -> None:
    sources = {**load_scanner("ge-dls").sources, "colour": "uncited"}
    with pytest.raises(InputError, match="sources: no such value; got colour; wanted one of res"):
        from_mapping(Scanner, altered(sources=sources), "mine.yaml")


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no such scanner; got 'ge-dsl'; .*try 'ge-dls'"):
        load_scanner("ge-dsl")
    with pytest.raises(InputError, match="no such noise level; got 'deafening'; wanted one of low"):
        load_scanner("ge-dls").trues_of("deafening")
