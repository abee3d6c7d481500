"""Plans of imports: what is wrong is told by its place, and nothing of the plan is repeated."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from dtsinn.core.config import find_config
from dtsinn.core.errors import InputError
from dtsinn.importers.plan import MixturesPlan, PairsPlan, read_plan

NAME = "Jane Roe"
PAIR: dict[str, Any] = {
    "tracers": ["fmz", "fdg"],
    "protocol": "p1",
    "subjects": [
        {
            "id": NAME,
            "split": "train",
            "first": {"image": f"{NAME}/fmz.nii"},
            "second": {"image": f"{NAME}/fdg.nii", "injection_time": 12, "units": "Bq/mL"},
        }
    ],
}
MIXTURE: dict[str, Any] = {
    "tracers": ["fmz", {"name": "x", "half_life": 1000}],
    "subjects": [{"id": NAME, "mixture": {"image": "m.nii", "injection_time": [0, 600]}}],
}


def test_a_plan_of_pairs(archive) -> None:
    plan = read_plan(archive.plan(PAIR))
    assert isinstance(plan, PairsPlan)
    assert plan.folder == archive.folder
    assert [(tracer.name, tracer.half_life) for tracer in plan.tracers] == [
        ("fmz", 1224.0),
        ("fdg", 6588.0),
    ]
    assert plan.protocol.name == "p1"
    (subject,) = plan.subjects
    assert (subject.identity, subject.split, subject.where) == (NAME, "train", "subjects.0")
    assert subject.first.injection_time is None
    assert subject.second.injection_time == 12.0
    assert subject.second.units == "Bq/mL"


def test_a_plan_of_mixtures(archive) -> None:
    plan = read_plan(archive.plan(MIXTURE))
    assert isinstance(plan, MixturesPlan)
    assert plan.protocol is None
    assert plan.tracers[1].half_life == 1000.0
    assert plan.subjects[0].mixture.injection_time == (0.0, 600.0)


def test_numbers_truths_and_names_are_those_of_people(archive) -> None:
    text = """
        tracers: [FMZ, Fdg]
        protocol: P1
        subjects:
          - id: Jane
            split: Train
            first: {image: a.nii, weight_kg: 070, dose_MBq: 0140.50, decay_corrected: yes}
            second: {image: b.nii, injection_time: 0600, frame_end_times: Off}
    """
    plan = read_plan(archive.plan(text))
    assert isinstance(plan, PairsPlan)
    assert [tracer.name for tracer in plan.tracers] == ["fmz", "fdg"]
    assert plan.protocol.name == "p1"
    (subject,) = plan.subjects
    assert subject.split == "train"
    assert (subject.first.weight_kg, subject.first.dose_MBq) == (70, 140.5)
    assert subject.first.decay_corrected is True
    assert (subject.second.injection_time, subject.second.frame_end_times) == (600, False)


@pytest.mark.parametrize("value", ["10:30", "1_000", "70,5", "70 kg", "!!float 70", "070.0.0"])
def test_what_is_no_number_is_refused_without_being_repeated(archive, value: str) -> None:
    text = f"""
        tracers: [fmz, fdg]
        protocol: p1
        subjects:
          - id: a
            first: {{image: a.nii}}
            second:
              image: b.nii
              injection_time: {value}
    """
    with pytest.raises(InputError) as caught:
        read_plan(archive.plan(text))
    assert value not in str(caught.value)
    assert "try " in str(caught.value)


def test_definitions_may_lie_beside_the_plan(archive) -> None:
    for kind, name in (("tracers", "fdg"), ("protocols", "p3")):
        text = find_config(kind, name).read_text().replace(f"name: {name}", "name: mine", 1)
        (archive.folder / f"{name}.yaml").write_text(text)
    plan = read_plan(archive.plan(PAIR | {"tracers": ["fmz", "fdg.yaml"], "protocol": "p3.yaml"}))
    assert plan.tracers[1].name == "mine"
    assert plan.protocol is not None
    assert (plan.protocol.name, plan.protocol.frames) == ("mine", 18)


def edited(plan: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a plan with one value set, or removed by ``...``."""
    copied = copy.deepcopy(plan)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    place: Any = copied
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copied


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (edited(PAIR, "protocl", []), "the plan: key number . is unknown; try protocol"),
        (edited(PAIR, "zzz", 1), "key number 4 is unknown; wanted one of tracers, protocol"),
        (edited(PAIR, "subjects", ...), "the plan: subjects is missing"),
        (
            edited(PAIR, "subjects", []),
            "the plan: subjects; got an empty list; wanted a list of at",
        ),
        (edited(PAIR, "subjects", {NAME: {}}), "the plan: subjects; got dict; wanted a list"),
        (edited(PAIR, "protocol", ...), "the plan: protocol is missing; .*try protocol: p1"),
        (edited(PAIR, "protocol", "p11"), "the plan: protocol is not known; .*; try p1"),
        (edited(PAIR, "protocol", NAME), "the plan: protocol is not known; wanted one of"),
        (edited(PAIR, "protocol", "no.yaml"), "the plan: protocol is not known"),
        (
            edited(PAIR, "tracers", ["fmz"]),
            "the plan: tracers; got 1 of them; wanted a list of two",
        ),
        (edited(PAIR, "tracers", NAME), "the plan: tracers; got str; wanted a list of two"),
        (edited(PAIR, "tracers", ["fmz", "fmz"]), "the plan: tracers; got fmz twice"),
        (edited(PAIR, "tracers.0", "fmzz"), r"the plan: tracers\.0 is not known; .*; try fmz"),
        (edited(PAIR, "tracers.1", 5), r"tracers\.1; got no settings, int; wanted keys name"),
        (edited(PAIR, "tracers.1", {"name": "x"}), r"tracers\.1: half_life is missing"),
        (
            edited(PAIR, "tracers.1", {"name": "x", "half_life": 0}),
            r"tracers\.1\.half_life; got 0; wanted seconds above 0",
        ),
        (
            edited(PAIR, "tracers.1", {"name": NAME, "half_life": 5}),
            r"the plan: tracers\.1\.name; got another word; wanted at most 32 letters",
        ),
        (edited(PAIR, "subjects.0", NAME), r"subjects\.0; got no settings, str; wanted keys id"),
        (edited(PAIR, "subjects.0.id", ...), r"subjects\.0: id is missing"),
        (edited(PAIR, "subjects.0.id", " "), r"subjects\.0\.id; got an empty word"),
        (edited(PAIR, "subjects.0.id", 17), r'subjects\.0: id; .*try quotes .* id: "17"'),
        (
            edited(PAIR, "subjects.0.split", "training"),
            r"subjects\.0: split; wanted one of train, .*; try train",
        ),
        (edited(PAIR, "subjects.0.second", ...), r"subjects\.0: scans; got first; wanted first an"),
        (
            edited(PAIR, "subjects.0.mixture", {"image": "m.nii"}),
            r"subjects\.0: scans; got first and second and mixture",
        ),
        (edited(MIXTURE, "subjects.0.mixture", ...), r"subjects\.0: scans; got none"),
        (edited(PAIR, "subjects.0.first.image", ...), r"subjects\.0\.first: image is missing"),
        (edited(PAIR, "subjects.0.first.image", 5), r"subjects\.0\.first: image; wanted a text"),
        (
            edited(PAIR, "subjects.0.first.injection_times", 5),
            r"subjects\.0\.first: key number 2 is unknown; try injection_time",
        ),
        (
            edited(PAIR, "subjects.0.first.half_life", "1 h"),
            r"subjects\.0\.first: half_life; wanted a number",
        ),
        (
            edited(PAIR, "subjects.0.first.half_life", float("nan")),
            r"subjects\.0\.first: half_life; wanted a finite number",
        ),
        (edited(PAIR, f"subjects.0.first.{NAME}", float("nan")), "key number 2 is unknown; wanted"),
        (
            edited(PAIR, "subjects.0.first.injection_time", [0, 5]),
            r"subjects\.0\.first: injection_time; wanted ",
        ),
        (
            edited(MIXTURE, "subjects.0.mixture.injection_time", 5),
            r"subjects\.0\.mixture: injection_time; wanted a list",
        ),
        (
            edited(PAIR, "subjects", [*PAIR["subjects"], *MIXTURE["subjects"]]),
            r"subjects\.1 is a mixture and subjects\.0 has first and second; .*two plans",
        ),
    ],
)
def test_a_wrong_plan_is_refused_by_its_place_alone(archive, plan, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_plan(archive.plan(plan))
    assert NAME not in str(caught.value)
    assert str(archive.folder) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"subjects:\n- id: {NAME}\n  id: {NAME}\n", "cannot be read as YAML; got a mistake at li"),
        (f"subjects: [{NAME}\n", "cannot be read as YAML; got a mistake at line"),
        (f"- {NAME}\n", "the plan; got no settings, list"),
        (f"{NAME}: 1980-02-03\n", "key number 1 is unknown"),
        (
            "tracers: [fmz, fdg]\nsubjects:\n- id: 0170\n",
            r"subjects\.0: id; wanted a text; try quotes around it",
        ),
        ("", "the plan; got no settings, NoneType"),
        (
            "tracers: [fmz, fdg]\nsubjects:\n- id: !!timestamp 1980-02-03\n",
            "the plan cannot be read as YAML; got a mistake at line 3; try the value without a tag",
        ),
        ("[" * 5000, "the plan cannot be read as YAML; got a mistake"),
        (
            "a0: &a0 [x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
            "the plan cannot be read as YAML; got a mistake at line 6",
        ),
    ],
)
def test_what_is_no_plan_is_refused(archive, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_plan(archive.plan(text))
    assert NAME not in str(caught.value)
    assert "1980-02-03" not in str(caught.value).partition("try")[0]


def test_an_alias_in_a_plan_is_read(archive) -> None:
    text = """
        tracers: [fmz, fdg]
        protocol: p1
        subjects:
        - {id: one, first: {image: a.nii, weight_kg: &weight 70}, second: &fdg {image: b.nii}}
        - {id: two, first: {image: c.nii, weight_kg: *weight}, second: *fdg}
    """
    one, two = read_plan(archive.plan(text)).subjects
    assert two.first.weight_kg == one.first.weight_kg == 70
    assert two.second == one.second


def test_a_plan_that_cannot_be_read_is_refused(archive) -> None:
    with pytest.raises(InputError, match=r"the plan cannot be read; got No such .*none\.yaml;"):
        read_plan(archive.folder / "none.yaml")
    (archive.folder / "plan.yaml").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match="the plan cannot be read; got bytes that are no text"):
        read_plan(archive.folder / "plan.yaml")


def test_a_mistake_in_a_definition_is_told_without_its_path(archive) -> None:
    (archive.folder / "mine.yaml").write_text("name: mine\n")
    with pytest.raises(
        InputError, match=r"tracers\.1: the file that it names is wrong; .* try dtsinn tracers"
    ) as caught:
        read_plan(archive.plan(edited(PAIR, "tracers.1", "mine.yaml")))
    assert str(archive.folder) not in str(caught.value)
    text = Path(find_config("protocols", "p1")).read_text().replace("name: p1", f"name: {NAME}")
    (archive.folder / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"the plan: protocol: the file .* is wrong") as caught:
        read_plan(archive.plan(edited(PAIR, "protocol", "mine.yaml")))
    assert NAME not in str(caught.value)
    (archive.folder / "mine.yaml").write_text(f"name: x\ndescription: [{NAME}\nsource: x\n")
    with pytest.raises(
        InputError, match="wrong; got a mistake at line 2; try dtsinn prot"
    ) as caught:
        read_plan(archive.plan(edited(PAIR, "protocol", "mine.yaml")))
    assert NAME not in str(caught.value)


@pytest.mark.parametrize(("word", "accepted"), [("yes", True), ("'Yes'", True), ("no", False)])
def test_what_is_unusual_is_accepted_by_a_word(archive, word: str, accepted: bool) -> None:
    text = (
        f"tracers: [fmz, {{name: x, half_life: 109.8, unusual_half_life: {word}}}]\n"
        f"subjects:\n- id: a\n  mixture: {{image: m.nii, unusual_times: {word}}}\n"
    )
    if not accepted:
        with pytest.raises(InputError, match=r"tracers\.1\.half_life; got 109.8 s, as F-18 has"):
            read_plan(archive.plan(text))
        return
    plan = read_plan(archive.plan(text))
    assert plan.subjects[0].accepted == {"unusual_times"}
    assert "unusual_times" not in str(plan.subjects[0].settings), "it decides no number"
