"""Commands around data: simulate, import, info, check, and what is known of tracers and scans."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from dtsinn.commands.options import (
    MACHINES,
    MOST,
    AsJson,
    Commands,
    Debug,
    Pictures,
    Quiet,
    StorePath,
    finite,
)
from dtsinn.core.display import minutes
from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path
from dtsinn.core.workspace import command
from dtsinn.workflows import console

app = Commands()

SCANS, STORE = "Scans", "Store"
"""Groups of options, as the help of ``simulate`` shows them."""


@app.command(epilog="Example: dtsinn simulate brain.zarr --subjects 60 --noise mid")
def simulate(
    out: Annotated[str, typer.Argument(metavar="OUT", help="The store to write: path or URL.")],
    tracers: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME",
            help="Two tracers, the one injected first first.",
            rich_help_panel=SCANS,
        ),
    ] = "fmz,fdg",
    protocol: Annotated[
        str,
        typer.Option(
            metavar="{protocols}|FILE", help="Frames and injection times.", rich_help_panel=SCANS
        ),
    ] = "p1",
    phantom: Annotated[
        str,
        typer.Option(
            metavar="{dtsinn.simulation.anatomy.phantom:PHANTOMS}",
            help="Anatomy.",
            rich_help_panel=SCANS,
        ),
    ] = "brain",
    population: Annotated[
        str,
        typer.Option(
            metavar="{populations}|FILE",
            help="varied: patients, lesions, doses; uniform: about one table.",
            rich_help_panel=SCANS,
        ),
    ] = "varied",
    noise: Annotated[
        str,
        typer.Option(
            metavar="{dtsinn.simulation.scanner.noise:noise_levels}",
            help="Noise level.",
            rich_help_panel=SCANS,
        ),
    ] = "mid",
    noise_model: Annotated[
        str,
        typer.Option(
            metavar="{dtsinn.simulation.scanner.noise_model:NOISE_MODELS}",
            help="image: noise is added; osem: counts, reconstructed.",
            rich_help_panel=SCANS,
        ),
    ] = "image",
    labels: Annotated[
        str,
        typer.Option(
            metavar="{dtsinn.simulation.request:LABELS}",
            help="truth: without noise; osem: a scan of each tracer alone.",
            rich_help_panel=SCANS,
        ),
    ] = "truth",
    scanner: Annotated[
        str,
        typer.Option(
            metavar="{scanners}|FILE", help="With the noise model osem.", rich_help_panel=SCANS
        ),
    ] = "ge-dls",
    motion: Annotated[
        float,
        typer.Option(
            min=0,
            callback=finite,
            metavar="MM",
            help="Between frames: SD at the end, mm and degrees.",
            rich_help_panel=SCANS,
        ),
    ] = 0.0,
    subjects: Annotated[
        int, typer.Option(min=1, help="Number of subjects.", rich_help_panel=STORE)
    ] = 60,
    slices: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Slices per subject; by default 8, or 40 contiguous ones.",
            rich_help_panel=STORE,
        ),
    ] = None,
    slice_spacing: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            metavar="MM",
            help="Contiguous slices; without, they are spread.",
            rich_help_panel=STORE,
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(min=8, help="Rows and columns of a slice, pixels.", rich_help_panel=STORE)
    ] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all draws.", rich_help_panel=STORE)] = 0,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="float32|float16",
            help="float16 takes half the space, at 3 digits.",
            rich_help_panel=STORE,
        ),
    ] = "float32",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST, help="Processes; by default one per core.", rich_help_panel=MACHINES
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="cpu|cuda",
            help="Where the noise model osem computes.",
            rich_help_panel=MACHINES,
        ),
    ] = "cpu",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Simulate a study of dual-tracer scans and write it as a store.

    An interrupted simulation is continued by the same command.
    """
    from dtsinn.simulation.study import simulate as run

    with console.progress(quiet) as progress:
        result = run(
            out,
            tracers=_pair(tracers),
            protocol=protocol,
            phantom=phantom,
            population=population,
            noise=noise,
            noise_model=noise_model,
            labels=labels,
            scanner=scanner,
            motion=motion,
            subjects=subjects,
            slices=slices,
            slice_spacing=slice_spacing,
            size=size,
            seed=seed,
            dtype=dtype,
            device=device,
            workers=workers,
            progress=progress,
        )
    console.say(f"{out}: {result.samples} samples, digest {result.digest[:12]}", quiet=quiet)
    console.say(result.cost(), quiet=quiet)
    console.say(f"try: {command('info', out, '--pictures', 'pictures')}", quiet=quiet)


@app.command("import", epilog="Example: dtsinn import plan.yaml brain.zarr --from nifti")
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="The plan (nifti, dicom), or a folder (mat).")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The store to write: path or URL.")],
    kind: Annotated[
        str,
        typer.Option(
            "--from", metavar="{dtsinn.importers.scans:IMPORTERS}", help="How the scans are stored."
        ),
    ],
    plan: Annotated[
        Path | None, typer.Option(metavar="YAML", help="With mat: what the files do not say.")
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            metavar="TSV",
            help="Names of regions (BIDS dseg.tsv); label images by the plan or beside the scans.",
        ),
    ] = None,
    identities: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="FILE", help="Whose pseudonym is whose; yours to keep. Beside OUT."
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="What a file may take at most, such as 8GB; or DTSINN_MAX_MEMORY."
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Bring real or foreign scans into a store, then check it.

    Subjects get pseudonyms; only the map file, which nobody else may read, knows their names.
    """
    from dtsinn.core.bounds import allowing
    from dtsinn.core.paths import is_url, local_or_url
    from dtsinn.data.writer import refuse_existing
    from dtsinn.importers.run import import_study
    from dtsinn.importers.scans import IMPORTERS

    out = local_or_url(out.rstrip("/") or out)
    kind = kind.lower()
    importer = IMPORTERS.find(kind)
    if importer.plan_beside != (plan is not None):
        raise InputError(
            "--plan",
            got="none" if plan is None else f"one beside --from {kind}",
            wanted="a YAML file with --from mat; with nifti and dicom SRC is the plan",
        )
    if identities is None and is_url(out):
        raise InputError("--map", got="none", wanted="a local file, as OUT is a URL")
    refuse_existing(out)  # before the headers of all scans are read
    with allowing(max_memory), console.progress(quiet) as progress:
        header = import_study(
            importer.open(source, plan, regions),
            out,
            identities or Path(f"{out}.subjects.json"),
            progress,
            note=console.note,
        )
    console.say(
        f"{out}: {header.samples} samples, checked, digest {header.digest[:12]}", quiet=quiet
    )
    console.say(f"try: {command('info', out, '--pictures', 'pictures')}", quiet=quiet)


@app.command(epilog="Example: dtsinn info brain.zarr --json")
def info(
    store: Annotated[
        str, typer.Argument(metavar="STORE|FOLDER", help="A zarr store, or a model's package.")
    ],
    pictures: Pictures = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Describe a store, or a model's package, whose files are verified.

    Of a store --pictures also draws frames, curves, and mixture against sum.
    """
    if (home_path(store) / "separator.json").is_file():
        if pictures is not None:
            raise InputError("--pictures", got="a package", wanted="a store")
        _describe_package(home_path(store), as_json=as_json)
        return
    from dtsinn.core.config import to_mapping
    from dtsinn.data.store import open_store

    opened = open_store(store)
    header = opened.header
    if pictures is not None:
        from dtsinn.plots.stores import draw_store

        for path in draw_store(opened, pictures):
            console.note(str(path))
    if as_json:
        plain = dataclasses.asdict(header) | {"protocol": to_mapping(header.protocol)}
        console.say_json(plain | {"subjects": opened.split_counts()})
        return
    first, second = map(minutes, header.protocol.injection_time)
    counts = ", ".join(f"{split} {n}" for split, n in opened.split_counts().items())
    rows = [
        ["tracers", f"{header.tracers[0]} at {first} min, {header.tracers[1]} at {second} min"],
        [
            "protocol",
            f"{header.protocol.name}: {header.protocol.frames} frames, "
            f"{minutes(header.protocol.end)} min",
        ],
        [
            "samples",
            f"{header.samples} of {header.size[0]} x {header.size[1]} pixels, "
            f"{header.voxel_size[0]:.2f} mm",
        ],
        ["subjects", counts],
        ["origin", header.origin or "unknown"],
        ["phantom", header.phantom],
        ["population", header.population],
        ["noise", header.noise or "unknown"],
        ["labels", (header.labels or "of unknown kind") if header.has_truth else "none"],
        ["seed", "" if header.seed is None else str(header.seed)],
        ["stored as", header.dtype],
        ["digest", header.digest],
    ]
    console.say_table(["", store], [row for row in rows if row[1]])


def _describe_package(folder: Path, *, as_json: bool) -> None:
    from dtsinn.core.config import to_mapping
    from dtsinn.deploy.digest import digest_of_files
    from dtsinn.deploy.facts import INFO_NAME, read_facts
    from dtsinn.deploy.manifest import verify_files

    files = verify_files(folder)
    facts, kind = read_facts(folder, files.contents[INFO_NAME])
    digest = digest_of_files(files, folder)
    if as_json:
        console.say_json(to_mapping(facts) | {"kind": kind, "digest": digest})
        return
    protocol, lineage = facts.timing, facts.lineage
    first, second = map(minutes, facts.injection_time)
    rows = [
        ["tracers", f"{facts.tracers[0]} at {first} min, {facts.tracers[1]} at {second} min"],
        ["protocol", f"{protocol.name}: {protocol.frames} frames, {minutes(protocol.end)} min"],
        ["network", kind],
        *([name, f"{value:.4g}"] for name, value in facts.metrics.items()),
        ["trained on", lineage.store_path],
        ["files", ", ".join(sorted(file.path for file in files.manifest.files))],
        ["made by", f"dtsinn {lineage.code_version}"],
        ["digest", digest],
    ]
    console.say_table(["", str(folder)], [row for row in rows if row[1]])


@app.command(epilog="Example: dtsinn check brain.zarr")
def check(store: StorePath, quiet: Quiet = False, debug: Debug = False) -> None:
    """Verify every chunk, checksum and invariant of a store."""
    from dtsinn.data.check import check_store

    with console.progress(quiet) as progress:
        checked = check_store(store, progress)
    for remark in checked.remarks:
        console.note(remark)
    console.say(f"{store} is whole: {checked.header.samples} samples", quiet=quiet)


@app.command(epilog="Example: dtsinn tracers fdg --pictures curves")
def tracers(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One tracer: name or YAML file.")
    ] = None,
    pictures: Pictures = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the tracers, or the kinetics and sources of one; --pictures draws their curves."""
    from dtsinn.core.config import to_mapping
    from dtsinn.core.tracer import load_tracer, tracer_names

    known = [load_tracer(one) for one in ([name] if name else tracer_names())]
    if pictures is not None:
        from dtsinn.plots.tracers import draw_tracers

        for path in draw_tracers(known, pictures):
            console.note(str(path))
    if as_json:
        console.say_json([to_mapping(tracer) for tracer in known])
    elif name:
        console.say_tracer(known[0])
    else:
        console.say_tracers(known)


@app.command(epilog="Example: dtsinn protocols p1")
def protocols(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One protocol: name or YAML file.")
    ] = None,
    pictures: Pictures = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw the protocols, frames and injections to scale; a file of yours is checked."""
    from dtsinn.core.config import to_mapping
    from dtsinn.core.protocol import load_protocol, protocol_names

    known = [load_protocol(one) for one in ([name] if name else protocol_names())]
    if pictures is not None:
        from dtsinn.plots.tracers import draw_protocols

        console.note(str(draw_protocols(known, pictures)))
    if as_json:
        console.say_json([to_mapping(protocol) for protocol in known])
    else:
        console.say_protocols(known)


def _pair(text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise InputError("--tracers", got=repr(text), wanted="two names with a comma: fmz,fdg")
    return names[0], names[1]
