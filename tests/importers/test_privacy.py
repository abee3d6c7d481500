"""Patient data: what stands in ids, file names, sidecars and headers does not get out."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import zarr

from dtsinn.core.errors import DtsinnError
from dtsinn.core.seeds import generator
from dtsinn.importers.run import import_study
from dtsinn.importers.scans import IMPORTERS

SYLLABLES = ["ka", "zu", "mo", "ri", "the", "lin", "bax", "dor", "vey", "qui", "pem", "wog"]
FRAMES = {"FrameTimesStart": [0, 600], "FrameDuration": [600, 4800]}


def word(*path: int | str) -> str:
    """A made-up word that stands in no source file, header or array."""
    rng = generator("privacy", *path)
    return "".join(rng.choice(SYLLABLES, size=5)).capitalize()


class Person:
    """Everything personal that a hospital writes about somebody, all of it invented."""

    def __init__(self, number: int) -> None:
        rng = generator("privacy", number, "numbers")
        self.name = f"{word(number, 'first')} {word(number, 'last')}"
        self.record = f"MRN{rng.integers(10**9, 10**10)}"
        self.born = f"19{rng.integers(10, 99)}-{rng.integers(10, 12)}-{rng.integers(10, 28)}"
        self.hospital = f"St. {word(number, 'hospital')} Hospital"
        self.comment = f"{word(number, 'comment')} after surgery"
        self.scanned = f"20{rng.integers(10, 20)}-{rng.integers(10, 12)}-{rng.integers(10, 28)}"

    @property
    def secrets(self) -> list[str]:
        whole = [self.record, self.born, self.scanned, self.born.replace("-", "")]
        return [*whole, *self.name.split(), self.hospital.split()[1], self.comment.split()[0]]

    @property
    def stem(self) -> str:
        return f"{self.name.replace(' ', '_')}_{self.record}_{self.born}"

    def sidecar(self) -> dict[str, Any]:
        return {
            "PatientName": self.name,
            "PatientID": self.record,
            "PatientBirthDate": self.born,
            "InstitutionName": self.hospital,
            "InstitutionAddress": f"{self.hospital}, 1 Main Street",
            "ImageComments": self.comment,
            "SeriesDescription": self.comment,
            "TracerName": f"{self.comment} [11C]",
            "TracerRadionuclide": "C11",
            "AcquisitionDateTime": f"{self.scanned}T11:22:33",
            "TimeZero": "11:22:33",
            "InjectionStart": 0,
            "ImageDecayCorrected": False,
            "Units": "Bq/mL",
            **FRAMES,
        }

    def sign(self, image: Any) -> None:
        """Write into the free text of a NIfTI header, and into an extension."""
        header = image.header
        header["descrip"] = f"{self.name} {self.born}".encode()[:79]
        header["aux_file"] = self.record.encode()[:23]
        header["intent_name"] = self.name.split()[1].encode()[:15]
        if "db_name" in header:
            header["db_name"] = self.name.split()[0].encode()[:17]
        text = f"{self.hospital} {self.comment}".encode()
        header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text))


@pytest.fixture
def people() -> list[Person]:
    return [Person(number) for number in range(3)]


@pytest.fixture
def clinic(archive, people) -> tuple[Any, dict[str, Any]]:
    """Pairs of scans of three people, every free field of which names them; and their plan."""
    subjects = []
    for number, person in enumerate(people):
        scans = {}
        for place, nuclide in (("first", "C11"), ("second", "F18")):
            images = 1000 * generator("privacy", number, place).random((2, 2, 8, 8))
            name = f"{person.stem}_{place}"
            archive.sidecar(name, person.sidecar() | {"TracerRadionuclide": nuclide})
            scans[place] = {"image": archive.image(name, images, edit=person.sign).name}
        subjects.append({"id": f"{person.name}, {person.record}", **scans})
    (archive.folder / "short.yaml").write_text(
        f"name: short\ndescription: for {people[0].name}\nsource: {people[1].hospital}\n"
        "injections: [0, 600]\nframes: [[2, 600], [1, 1200]]\n"
    )
    plan = {"tracers": ["fmz", "fdg"], "protocol": "short.yaml", "subjects": subjects}
    return archive, plan


def forms(secret: str) -> list[bytes]:
    """How text may stand in bytes: upper and lower case do not matter, so all is lower case."""
    found = [secret.lower().encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]
    for shift in range(3):  # base64 of the secret in the middle of other text
        padded = base64.b64encode(b"\0" * shift + secret.encode())
        found.append(padded[4 if shift else 0 : -4].lower())
    return found


def refuse_secrets(content: bytes, people: list[Person], where: str) -> None:
    content = content.lower()
    for person in people:
        for secret in person.secrets:
            for form in forms(secret):
                assert form not in content, f"{secret!r} in {where}"


def decoded(store: Path) -> bytes:
    """All attributes and arrays of a store, as plain bytes."""
    group = zarr.open_group(store, mode="r")
    parts = [json.dumps(dict(group.attrs), ensure_ascii=False).encode()]
    for name, array in group.arrays():
        values = array[...]
        if values.dtype.kind not in "fiu":
            values = np.array("\n".join(map(str, values.ravel())).encode())
        parts += [name.encode(), json.dumps(dict(array.attrs)).encode(), values.tobytes()]
    return b"\0".join(parts)


def test_the_search_finds_what_it_looks_for(clinic, people) -> None:
    archive, plan = clinic
    for content in (
        (archive.folder / f"{people[0].stem}_first.json").read_bytes(),
        archive.plan(plan).read_bytes(),
        people[2].name.upper().encode("utf-16"),
        base64.b64encode(b"x " + people[1].hospital.encode() + b" y"),
    ):
        with pytest.raises(AssertionError):
            refuse_secrets(content, people, "where it is")


@pytest.mark.parametrize("mixtures", [False, True])
def test_nothing_personal_enters_a_store(
    clinic, people, tmp_path, capfd, caplog, mixtures: bool
) -> None:
    archive, plan = clinic
    if mixtures:
        plan["protocol"] = None
        plan["subjects"] = [
            {"id": s["id"], "mixture": s["first"] | {"injection_time": [0, 600]}}
            for s in plan["subjects"]
        ]
    told: list[str] = []
    caplog.set_level(logging.DEBUG)
    out, identities = tmp_path / "out.zarr", tmp_path / "map.json"
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    import_study(source, str(out), identities, lambda *words: told.append(str(words)))
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        refuse_secrets(path.read_bytes(), people, str(path))
        refuse_secrets(str(path.relative_to(out)).encode(), people, "a file's name")
    refuse_secrets(decoded(out), people, "arrays and attributes")
    captured = capfd.readouterr()
    for text in (captured.out, captured.err, caplog.text, *told):
        refuse_secrets(text.encode(), people, "output")
    for person in people:  # the user's own file is where they are, and nowhere else
        assert person.name in identities.read_text()
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"archive", "out.zarr", "map.json", "map.json.lock"}


def _no_image(archive, plan, person) -> None:
    (archive.folder / plan["subjects"][1]["first"]["image"]).unlink()


def _endless_name(archive, plan, person) -> None:
    plan["subjects"][1]["first"]["image"] = person.name * 100 + ".nii"


def _no_sidecar(archive, plan, person) -> None:
    (archive.folder / f"{person.stem}_first.json").unlink()


def _bad_json(archive, plan, person) -> None:
    path = archive.folder / f"{person.stem}_first.json"
    path.write_text(path.read_text().replace('"PatientID"', "PatientID"))


def _bad_field(archive, plan, person) -> None:
    archive.sidecar(f"{person.stem}_first", person.sidecar() | {"FrameDuration": person.name})


def _no_units(archive, plan, person) -> None:
    archive.sidecar(f"{person.stem}_first", person.sidecar() | {"Units": None})


def _truncated(archive, plan, person) -> None:
    path = archive.folder / plan["subjects"][1]["first"]["image"]
    path.write_bytes(path.read_bytes()[:-200])


def _no_nifti(archive, plan, person) -> None:
    (archive.folder / plan["subjects"][1]["first"]["image"]).write_text(person.name * 500)


def _header_only(archive, plan, person) -> None:
    path = archive.folder / plan["subjects"][1]["first"]["image"]
    archive.image(path.name.removesuffix(".nii.gz"), np.zeros((2, 2, 8, 9)), edit=person.sign)


def _not_a_number(archive, plan, person) -> None:
    path = archive.folder / plan["subjects"][1]["first"]["image"]
    archive.image(path.name.removesuffix(".nii.gz"), np.full((2, 2, 8, 8), np.nan))


def _other_frames(archive, plan, person) -> None:
    archive.sidecar(f"{person.stem}_first", person.sidecar() | {"FrameTimesStart": [0, 60]})


def _not_covered(archive, plan, person) -> None:
    archive.sidecar(f"{person.stem}_first", person.sidecar() | {"FrameDuration": [600, 60]})


def _twice(archive, plan, person) -> None:
    plan["subjects"][2]["id"] = plan["subjects"][1]["id"]


def _unknown_key(archive, plan, person) -> None:
    plan["subjects"][1][person.name] = person.born


def _number_as_id(archive, plan, person) -> None:
    plan["subjects"][1]["id"] = int(person.born.replace("-", ""))


def _name_as_tracer(archive, plan, person) -> None:
    plan["tracers"][1] = {"name": person.name, "half_life": 6588}


def _name_as_protocol(archive, plan, person) -> None:
    plan["protocol"] = person.name


def _name_as_split(archive, plan, person) -> None:
    plan["subjects"][1]["split"] = person.name


def _some_splits(archive, plan, person) -> None:
    plan["subjects"][1]["split"] = "train"


CASES = [
    (_no_image, "subjects.1.first.image"),
    (_endless_name, "subjects.1.first.image"),
    (_no_sidecar, "subjects.1.first.sidecar"),
    (_bad_json, "subjects.1.first.sidecar"),
    (_bad_field, "subjects.1.first.sidecar"),
    (_no_units, "subjects.1.first"),
    (_truncated, "subjects.1.first.image"),
    (_no_nifti, "subjects.1.first.image"),
    (_header_only, "subjects.1.second"),
    (_not_a_number, "subjects.1.first.image"),
    (_other_frames, "subjects.1.first"),
    (_not_covered, "subjects.1.first"),
    (_twice, "subjects.2"),
    (_unknown_key, "subjects.1"),
    (_number_as_id, "subjects.1"),
    (_name_as_tracer, "tracers.1"),
    (_name_as_protocol, "protocol"),
    (_name_as_split, "subjects.1: split"),
    (_some_splits, "subjects.0: split"),
]


@pytest.mark.parametrize(("spoil", "place"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_refusals_name_the_place_and_nobody(
    clinic, people, tmp_path, capfd, caplog, spoil, place: str
) -> None:
    archive, plan = clinic
    caplog.set_level(logging.DEBUG)
    spoil(archive, plan, people[1])
    path = archive.plan(plan)
    with pytest.raises(DtsinnError) as caught:
        import_study(
            IMPORTERS["nifti"].open(path), str(tmp_path / "out.zarr"), tmp_path / "map.json"
        )
    message = str(caught.value)
    assert place in message
    assert "\n" not in message
    captured = capfd.readouterr()
    for text in (message, captured.out, captured.err, caplog.text):
        refuse_secrets(text.encode(), people, "the message")
        assert str(archive.folder) not in text
    assert not list(tmp_path.glob("out.zarr*"))
