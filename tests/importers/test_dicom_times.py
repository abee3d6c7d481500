"""Times of a DICOM series: each may be missing, frozen or shifted, and the frames follow from
the others, or it is said what does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dtsinn.core.errors import InputError
from dtsinn.importers.dicom.activity import Injected, scaling
from dtsinn.importers.dicom.clock import (
    Clock,
    header_half_life,
    injection_on,
    read_administrations,
    series_clock,
)
from dtsinn.importers.dicom.header import Drug, ImageHeader, read_pet_headers
from dtsinn.importers.dicom.moment import Moment, zone_of
from dtsinn.importers.dicom.scan import open_dicom
from dtsinn.importers.dicom.series import arrange

from .dicom_edits import C11, WHERE, drug
from .dicom_series import F18, SeriesRecipe, series_array, write_series

RECIPE = SeriesRecipe(durations=(300.0,) * 4 + (600.0,), clock=86_400.0 - 900.0)
"""15 minutes before midnight: the last two frames are of the next day."""
STARTS = (0.0, 300.0, 600.0, 900.0, 1200.0)

Headers = list[ImageHeader]
Change = Callable[[ImageHeader], dict[str, Any]]


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Headers:
    """Of five frames of two slices, read once."""
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, series_array(slices=2, frames=5), RECIPE)
    return read_pet_headers(folder, WHERE)


def changed(headers: Headers, *changes: Change) -> Headers:
    for change in changes:
        headers = [dataclasses.replace(one, **change(one)) for one in headers]
    return headers


def opened(headers: Headers) -> tuple[Clock, float | None, np.ndarray]:
    """The clock, the injection, and the factors to kBq/mL, as a scan is opened."""
    series = arrange(headers, WHERE)
    half_life = header_half_life(series)
    clock = series_clock(series, half_life)
    injection = injection_on(clock, series, half_life)
    injected = Injected(
        half_life=half_life, time=injection, weight_kg=None, dose_MBq=None, accepted=frozenset()
    )
    return clock, injection, scaling(series, clock, injected)[0]


def frame_of(header: ImageHeader) -> int:
    return ((header.image_index or 0) - 1) // 2


def on_day(moment: Moment | None, day: int | None) -> Moment | None:
    return None if moment is None else dataclasses.replace(moment, day=day)


def no_dates(header: ImageHeader) -> dict[str, Any]:
    drugs = tuple(
        dataclasses.replace(drug, start=on_day(drug.start, None)) for drug in header.drugs
    )
    moments = {"acquired": header.acquired, "series_start": header.series_start}
    return {name: on_day(moment, None) for name, moment in moments.items()} | {"drugs": drugs}


def one_date(header: ImageHeader) -> dict[str, Any]:
    return {
        "acquired": on_day(header.acquired, (header.series_start or Moment(day=0, seconds=0)).day)
    }


def shifted_dates(header: ImageHeader) -> dict[str, Any]:
    return {"acquired": on_day(header.acquired, 700_000 + 37 * frame_of(header) % 11)}


def one_time(header: ImageHeader) -> dict[str, Any]:
    return {"acquired": header.series_start}


def no_time(header: ImageHeader) -> dict[str, Any]:
    return {"acquired": None}


def no_reference(header: ImageHeader) -> dict[str, Any]:
    return {"reference": None}


def one_reference(header: ImageHeader) -> dict[str, Any]:
    return {"reference": 0.0}


def no_series_time(header: ImageHeader) -> dict[str, Any]:
    return {"series_start": None}


def no_counts(header: ImageHeader) -> dict[str, Any]:
    return {"image_index": None, "slices": None, "frames": None}


def no_factor(header: ImageHeader) -> dict[str, Any]:
    return {"decay_factor": None}


def factor_here_and_there(header: ImageHeader) -> dict[str, Any]:
    return {"decay_factor": 0.0 if frame_of(header) % 2 else header.decay_factor}


def no_half_life(header: ImageHeader) -> dict[str, Any]:
    drugs = [dataclasses.replace(one, half_life=None, nuclide=F18) for one in header.drugs]
    return {"drugs": tuple(drugs)}


def hour_back(header: ImageHeader) -> dict[str, Any]:
    """Daylight saving ends between the second and the third frame."""
    if frame_of(header) < 2 or header.acquired is None:
        return {}
    return {"acquired": header.acquired.later(-3600.0)}


RIGHT: dict[str, tuple[Change, ...]] = {
    "all": (),
    "no dates": (no_dates,),
    "no dates and no reference times": (no_dates, no_reference),
    "no dates, no reference times, no counts": (no_dates, no_reference, no_counts),
    "a date that stays": (one_date,),
    "a date that stays, and no reference times": (one_date, no_reference),
    "dates that are shifted": (shifted_dates,),
    "one acquisition time": (one_time,),
    "one acquisition time without dates": (no_dates, one_time),
    "one acquisition time, no counts": (one_time, no_counts),
    "one acquisition time, no series time": (one_time, no_series_time),
    "no acquisition times": (no_time,),
    "no reference times": (no_reference,),
    "one reference time": (one_reference,),
    "one reference time, no dates": (one_reference, no_dates),
    "no series time": (no_series_time,),
    "no factors": (no_factor,),
    "factors here and there": (factor_here_and_there,),
    "a nuclide and no half-life": (no_half_life,),
    "a clock that is put back": (hour_back,),
}


@pytest.mark.parametrize("case", RIGHT)
def test_the_frames_are_found_with_the_times_that_are_left(headers: Headers, case: str) -> None:
    clock, injection, slope_TZ = opened(changed(headers, *RIGHT[case]))
    assert clock.frames.start == pytest.approx(STARTS, abs=1e-3)
    assert clock.frames.duration == RECIPE.durations
    assert injection == pytest.approx(-30.0, abs=1e-3)
    _, _, wanted_TZ = opened(headers)
    assert np.allclose(slope_TZ, wanted_TZ, rtol=1e-6)


def wrong_factors(header: ImageHeader) -> dict[str, Any]:
    factor = header.decay_factor
    return {"decay_factor": None if not factor else 1 / factor}


def another_nuclide(header: ImageHeader) -> dict[str, Any]:
    return {"drugs": tuple(dataclasses.replace(one, half_life=C11) for one in header.drugs)}


def seconds_for_ms(header: ImageHeader) -> dict[str, Any]:
    return {"reference": None if header.reference is None else header.reference / 1000}


def start_for_average(header: ImageHeader) -> dict[str, Any]:
    return {"reference": STARTS[frame_of(header)]}


WRONG: dict[str, tuple[Change, str]] = {
    "inverse factors": (wrong_factors, "DecayFactor of frame"),
    "another half-life": (another_nuclide, "DecayFactor of frame"),
    "reference times in s": (seconds_for_ms, "FrameReferenceTime"),
    "reference times that are starts": (start_for_average, "FrameReferenceTime"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize(
    "missing",
    [no_dates, no_series_time, no_counts, factor_here_and_there, one_date],
    ids=lambda change: change.__name__,
)
def test_what_is_wrong_is_refused_whatever_else_is_missing(
    headers: Headers, case: str, missing: Change
) -> None:
    change, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        opened(changed(headers, change, missing))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((one_time, no_reference), "all frames have one AcquisitionTime, and no FrameReferenceTi"),
        ((no_time, no_reference), "the frames have no times; wanted AcquisitionTime or"),
        ((one_time, seconds_for_ms), "frames 0 and 1 overlap|before the series"),
        ((hour_back, no_reference), "frames 1 and 2|times and ImageIndex disagree"),
        ((shifted_dates, no_reference), "frames|times and ImageIndex disagree"),
    ],
)
def test_times_that_tell_no_frames_are_refused(
    headers: Headers, changes: tuple[Change, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        opened(changed(headers, *changes))


def test_of_two_times_at_which_a_series_may_begin_none_is_taken(headers: Headers) -> None:
    """The injection is then to be said in the plan."""
    late = Moment(day=None, seconds=100.0)
    clock, injection, _ = opened(changed(headers, lambda one: {"acquired": late}))
    assert clock.frames.start == pytest.approx(STARTS, abs=1e-3)
    assert injection is None


def test_the_nuclide_is_held_against_the_half_life(tmp_path: Path) -> None:
    code = Dataset()
    code.CodeMeaning = "^18^Fluorine"
    for half_life in (F18, C11):
        folder = tmp_path / str(half_life)
        edit = drug(RadionuclideCodeSequence=[code])
        recipe = SeriesRecipe(half_life=half_life, edit=edit)
        write_series(folder, series_array(slices=1), recipe)
    assert open_dicom(tmp_path / str(F18), WHERE).half_life == F18
    with pytest.raises(InputError, match="half-life and nuclide contradict each other; got 1224 s"):
        open_dicom(tmp_path / str(C11), WHERE)
    assert open_dicom(tmp_path / str(C11), WHERE, half_life=C11).half_life == C11


def test_an_injection_in_another_time_zone_is_moved(tmp_path: Path) -> None:
    write_series(tmp_path, series_array(slices=1), SeriesRecipe(edit=in_utc))
    assert open_dicom(tmp_path, WHERE).injection_time == pytest.approx(-30.0)
    assert zone_of("-0930", "here") == -34_200.0
    with pytest.raises(InputError, match="here is no offset from UTC"):
        zone_of("CET", "here")


def in_utc(image: Dataset, frame: int, z: int) -> Dataset:
    """The scanner's clock is that of +0200, and the injection is told in UTC."""
    image.TimezoneOffsetFromUTC = "+0200"
    (item,) = image.RadiopharmaceuticalInformationSequence
    local = item.RadiopharmaceuticalStartDateTime
    hours = int(local[8:10]) - 2
    item.RadiopharmaceuticalStartDateTime = f"{local[:8]}{hours:02d}{local[10:]}+0000"
    item.RadiopharmaceuticalStartTime = None
    return image


def test_every_radiopharmaceutical_is_listed(headers: Headers) -> None:
    first = headers[0].drugs[0]
    second = Drug(half_life=None, nuclide=C11, dose=None, start=first.start.later(600.0))  # type: ignore[union-attr]
    both = changed(headers, lambda one: {"drugs": (*one.drugs, second)})
    series = arrange(both, WHERE)
    found = read_administrations(series, series_clock(series, F18))
    assert [half_life for half_life, _ in found] == [F18, C11]
    assert [time for _, time in found] == pytest.approx([-30.0, 570.0])


def test_a_short_scan_is_in_seconds_where_its_nuclide_is_short_lived(tmp_path: Path) -> None:
    recipe = SeriesRecipe(durations=(15.0,) * 8, half_life=123.0)
    write_series(tmp_path, series_array(frames=8), recipe)
    assert open_dicom(tmp_path, WHERE).frame_duration == (15.0,) * 8
    with pytest.raises(InputError, match="not minutes, or unusual_times: yes"):
        open_dicom(tmp_path, WHERE, longest_half_life=F18)
