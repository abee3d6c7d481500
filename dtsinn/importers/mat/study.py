"""The layout of the published DTS-INN code: a folder for the mixture, one for each tracer.

Each file is one slice, [rows, columns, frames]. Which files belong together is decided by their
names, never by their order in a listing. The names may name people, so messages tell places:
``fdg, file 3 of 40`` counts from 1 in natural order, where ``sample2`` comes before ``sample10``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path
from dtsinn.importers.files import fingerprint, read_stamps
from dtsinn.importers.mat.file import mat_shape, read_mat
from dtsinn.importers.mat.plan import MatPlan, read_mat_plan
from dtsinn.importers.mat.subjects import natural_order, place, subjects_of
from dtsinn.importers.remarks import format_remarks, injections_inside
from dtsinn.importers.source import Importer, Source, SourceSubject, StudyShape

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, repr=False)
class MatSource(Source):
    """A study in the published layout; see :class:`dtsinn.importers.source.Source`."""

    shape: StudyShape
    subjects: tuple[SourceSubject, ...]
    plan: MatPlan
    files: Mapping[str, Mapping[str, Path]]
    stems: tuple[tuple[str, ...], ...]
    fingerprint: str

    def read(self, subject: int) -> dict[str, FloatArray]:
        """The images of one subject: ``mixture`` [S, T, Y, X], ``tracers`` [S, K, T, Y, X].

        Raises:
            InputError: A file is damaged, or holds complex numbers, NaN or infinity.
            RunError: A file cannot be read for now.
        """
        stems = self.stems[subject]
        mixture, *tracers = (self._sequence(kind, stems) for kind in self.files)
        if not tracers:
            return {"mixture": mixture}
        return {"mixture": mixture, "tracers": np.stack(tracers, axis=1)}

    def _sequence(self, kind: str, stems: Sequence[str]) -> FloatArray:
        """[S, T, Y, X] kBq/mL of the files of one folder, in the store's orientation."""
        files = self.files[kind]
        images_STYX = np.empty(
            (len(stems), self.shape.protocol.frames, *self.shape.size), dtype=np.float32
        )
        places = {stem: number for number, stem in enumerate(files, 1)}
        for number, stem in enumerate(stems):
            where = place(kind, places[stem], len(files))
            stored_YXT = read_mat(files[stem], self.plan.key, where)
            wanted = (*self.shape.size, self.shape.protocol.frames)
            if stored_YXT.shape != wanted:
                raise InputError(f"{where} is not what it was", got=stored_YXT.shape, wanted=wanted)
            images_STYX[number] = stored_YXT.transpose(2, 0, 1) * self.plan.scale
        rows = slice(None, None, -1) if self.plan.rows == "back_to_front" else slice(None)
        columns = slice(None, None, -1) if self.plan.columns == "right_to_left" else slice(None)
        return images_STYX[:, :, rows, columns]


class MatImporter(Importer):
    """Studies in the layout of the published code."""

    plan_beside = True

    @classmethod
    def open(cls, source: Path, plan: Path | None = None, regions: Path | None = None) -> Source:
        """Open the folder ``source``; every file's header is checked.

        Hidden files are passed over; anything else that is no ``.mat`` file is refused.

        Args:
            source: Holds the folders of mixture and tracers.
            plan: YAML file that says what the files do not; see
                :class:`dtsinn.importers.mat.plan.MatPlan`.
            regions: Refused: the layout has no place for label images.

        Raises:
            InputError: The plan is wrong, a folder or file is missing, the names in the folders
                differ, or a file is damaged or not of the plan's shape.
        """
        if regions is not None:
            raise InputError("regions", got="a table with mat", wanted="one with nifti or dicom")
        settings = read_mat_plan(cast("Path", plan))
        if not source.is_dir():
            raise InputError(
                "mixture: there is no such folder in the source",
                got=f"{source}, which is no folder",
                wanted="one that holds the folders of mixture and tracers",
            )
        files = {
            kind: _files(source / home_path(name), kind) for kind, name in settings.folders.items()
        }
        if any(set(files[kind]) != set(files["mixture"]) for kind in files):
            files = {
                kind: _without_folder(by_stem, source / home_path(settings.folders[kind]))
                for kind, by_stem in files.items()
            }
        mixture = files["mixture"]
        for kind in list(files)[1:]:
            _check_names(mixture, files[kind], kind)
        members = subjects_of(settings, list(mixture))
        size = _check_headers(files, settings)
        return MatSource(
            shape=StudyShape(
                tracers=settings.tracers,
                protocol=settings.protocol,
                half_life=settings.half_life,
                size=size,
                voxel_size=settings.voxel_size,
                has_truth=settings.has_truth,
                attributes={
                    "source_format": "mat",
                    "origin": "imported",
                    "labels": "single-tracer images",
                    "kBq_per_mL_per_unit": settings.scale,
                },
                remarks=format_remarks(
                    injections_inside(settings.protocol, settings.tracers, "the protocol")
                ),
            ),
            subjects=tuple(member.subject for member in members),
            plan=settings,
            files=files,
            stems=tuple(member.stems for member in members),
            fingerprint=fingerprint(
                [settings.key, settings.scale, settings.rows, settings.columns, settings.folders],
                [(member.subject.identity, member.stems) for member in members],
                {kind: read_stamps(by_stem.values(), kind) for kind, by_stem in files.items()},
            ),
        )


def _files(folder: Path, kind: str) -> dict[str, Path]:
    """The ``.mat`` files of a folder by stem, in natural order."""
    try:
        if not folder.is_dir():
            raise InputError(
                f"{kind}: there is no such folder in the source",
                hint="folders in the plan, or truth: false where there are no single tracers",
            )
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
        foreign = sum(not (path.is_file() and path.suffix.lower() == ".mat") for path in paths)
    except OSError as error:  # too long a name, no permission: the text holds the path
        raise InputError(f"{kind}: its folder cannot be read", got=error.strerror) from None
    if foreign:
        raise InputError(
            f"{kind}: its folder holds {foreign} things that are no .mat files",
            wanted=".mat files (hidden files are passed over)",
            hint="moving them out",
        )
    if not paths:
        raise InputError(f"{kind}: its folder is empty", wanted="a .mat file for each slice")
    by_stem = {path.stem: path for path in sorted(paths, key=lambda path: natural_order(path.stem))}
    if len(by_stem) < len(paths):
        raise InputError(f"{kind}: two files differ only in how .mat is written")
    return by_stem


def _without_folder(by_stem: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Files by stem, without the folder's name where all of them begin with it."""
    prefix = f"{folder.name}_"
    if not all(stem.startswith(prefix) for stem in by_stem):
        return dict(by_stem)
    return {stem.removeprefix(prefix): path for stem, path in by_stem.items()}


def _check_names(mixture: Mapping[str, Path], tracer: Mapping[str, Path], kind: str) -> None:
    """Refuse folders that do not hold the same names."""
    parts = []
    for one, other, text in (
        (mixture, tracer, f"of the mixture are not in {kind}"),
        (tracer, mixture, f"of {kind} are not in the mixture"),
    ):
        alone = [number for number, stem in enumerate(one, 1) if stem not in other]
        if alone:
            parts.append(f"{len(alone)} {text} (first: file {alone[0]} of {len(one)})")
    if parts:
        raise InputError(
            f"{kind}: its files have other names than those of the mixture",
            got=" and ".join(parts),
            wanted="the same names in all folders",
        )


def _check_headers(files: Mapping[str, Mapping[str, Path]], plan: MatPlan) -> tuple[int, int]:
    """Rows and columns of all files, which must be alike."""
    frames = plan.protocol.frames
    mixture = files["mixture"]
    first, count = next(iter(mixture.values())), len(mixture)
    wanted = mat_shape(first, plan.key, place("mixture", 1, count))[:2]
    for kind, by_stem in files.items():
        for number, path in enumerate(by_stem.values(), 1):
            where = place(kind, number, count)
            rows, columns, found = mat_shape(path, plan.key, where)
            if found != frames:
                raise InputError(
                    f"{where}: frames",
                    got=f"{rows} x {columns} x {found}",
                    wanted=f"rows x columns x {frames} frames, as in protocol "
                    f"{plan.protocol.name!r}",
                )
            if (rows, columns) != wanted:
                raise InputError(
                    f"{where}: another size than the first file of the mixture",
                    got=f"{rows} x {columns}",
                    wanted=f"{wanted[0]} x {wanted[1]}",
                )
    return wanted
