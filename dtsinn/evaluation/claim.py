"""The claim of an evaluation, as the RELAINCE guidelines ask for one.

Jha et al., "Nuclear Medicine and Artificial Intelligence: Best Practices for Evaluation (the
RELAINCE guidelines)", J Nucl Med 2022;63:1288-1299: every evaluation states a claim, of one of
four classes, with the task, the data, the method, the figure of merit and how far it generalises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dtsinn.core.tracer import load_tracer, tracer_names
from dtsinn.data.store import StoreHeader
from dtsinn.evaluation.findings import find_in
from dtsinn.evaluation.limits import KINETIC_BIAS, WORST_REGION
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.results import FLOOR, CellResult, Evaluation

CLASS = "technical task-specific efficacy"
"""The class of our claims; the others are promise, clinical decision making, post-deployment."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What an evaluation claims."""

    statement: str
    """In one sentence, with the figures of the cell to judge by."""
    parts: tuple[tuple[str, str], ...]
    """Name and text of each part that the guidelines ask for."""


def state_claim(evaluation: Evaluation, headers: Mapping[str, StoreHeader]) -> Claim:
    """The claim of an evaluation.

    Args:
        evaluation: What was found.
        headers: Of the stores behind the scored cells, by the cell's key.
    """
    cells = [cell for cell in evaluation.cells if cell.applicable]
    return Claim(
        statement=_statement(evaluation.headline, evaluation.models[0].name),
        parts=(
            ("Class of the claim", f"{CLASS}; not clinical decisions, not outcomes"),
            ("Task", _task(cells)),
            ("Data", _data(cells, headers, evaluation)),
            ("Reference", _reference(cells, headers)),
            ("Method", _method(evaluation)),
            ("Figure of merit", _merit()),
            ("Generalisation", _generalises(cells, evaluation.models[0].name)),
            ("Not shown", _not_shown(headers)),
        ),
    )


def _statement(cell: CellResult | None, model: str) -> str:
    scores = None if cell is None else next((s for s in cell.models if s.model == model), None)
    if cell is None or scores is None or scores.summary is None:
        return "Nothing is claimed: no cell applies."
    first, second = (tracer.upper() for tracer in cell.tracers)
    found = scores.summary.kinetics
    text = f"From one scan of {first} and {second} ({cell.title}, n = {len(scores.subjects)}), "
    text += f"{model} gives both tracers' images with a PSNR of {_decibel(scores.summary.psnr)}"
    gain = cell.difference(model)
    if gain is not None:
        text += f", {_decibel(gain.psnr, '+')} over the {FLOOR}"
    if found is None or found.kinetic_bias is None or found.worst_bias is None:
        return f"{text}; what a clinic reads from them cannot be told here."
    read = " and ".join(f"{quantity} of {t.upper()}" for t, quantity in found.judged.items())
    text += (
        f", and {read} with a bias of {found.kinetic_bias:.1f} %, {found.worst_bias:.1f} % in the"
    )
    text += f" worst region ({found.worst_bias_region})."
    fails = find_in(cell, scores).failures
    return f"{text} That fails: see below." if fails else text


def _decibel(interval: Interval, sign: str = "") -> str:
    text = f"{interval.mean:{sign}z.1f} dB"
    text += "" if interval.low is None else f" ({interval.range_text(1, sign)})"
    return text.replace("-", "\N{MINUS SIGN}")


def _task(cells: Sequence[CellResult]) -> str:
    known, reads = tracer_names(), []
    for tracer in dict.fromkeys(name for cell in cells for name in cell.tracers):
        readout = load_tracer(tracer).readout if tracer in known else None
        reads.append(f"{tracer.upper()}: {readout.text()}" if readout else "")
    text = "separating one dynamic scan of two tracers into the image sequence of each"
    named = "; ".join(filter(None, reads))
    return f"{text}, and reading its regions ({named})" if named else text


def _data(
    cells: Sequence[CellResult], headers: Mapping[str, StoreHeader], evaluation: Evaluation
) -> str:
    if not cells:
        return "none"
    texts, split = [], evaluation.split
    stores = [cell for cell in cells if cell.source == "store"]
    for cell in stores:
        header = headers.get(cell.key)
        origin = header.origin if header is not None else "store"
        people = f", population {header.population}" if header and header.population else ""
        texts.append(
            f"{cell.subjects} {split} subjects of a store ({origin}{people}; {cell.title[7:]})"
        )
    made = [cell for cell in cells if cell.source == "simulated"]
    if made:
        people = _several(cell.population for cell in made) or "not known"
        varied = _several(cell.conditions for cell in made)
        pairs = _several(" + ".join(t.upper() for t in cell.tracers) for cell in made)
        texts.append(
            f"{len(made)} simulated cell{'s' * (len(made) > 1)} of "
            f"{_several(str(cell.subjects) for cell in made)} subjects (population {people}; "
            f"pair {pairs}; protocol {_several(cell.protocol for cell in made)}; phantom "
            f"{_several(cell.phantom for cell in made)}; noise "
            f"{_several(cell.noise for cell in made)}{f'; {varied}' if varied else ''})"
        )
    trained = {str(model.lineage.get("store_digest", "")) for model in evaluation.models}
    if all({cell.store_digest} == trained for cell in stores):
        texts.append("none of the subjects was trained on")
    else:  # it may be of the same people or seed as the store that was
        texts.append("whether the training had seen subjects of the store is not known")
    return "; ".join(texts)


def _reference(cells: Sequence[CellResult], headers: Mapping[str, StoreHeader]) -> str:
    labels = {headers[cell.key].labels for cell in cells if cell.key in headers}
    if labels == {"truth"}:
        return "the noise-free activity of each tracer, known as the scans are simulated"
    if labels <= {""}:
        return "the tracers' own images as the store holds them"
    return "the tracers' own images as the store holds them: " + _several(labels - {""})


def _method(evaluation: Evaluation) -> str:
    texts = []
    for model in evaluation.models:
        pair = " + ".join(tracer.upper() for tracer in model.tracers)
        count = model.lineage.get("steps")
        steps = f", {count} step{'s' * (count != 1)}" if count else ""
        texts.append(f"{model.name} (trained for {pair}, {model.protocol}{steps})")
    rivals = [FLOOR, *(baseline.name for baseline in evaluation.baselines)]
    return f"{'; '.join(texts)}; against the {' and the '.join(rivals)}"


def _merit() -> str:
    return (
        f"bias of what is read from the regions (kinetic_bias, limit {KINETIC_BIAS.text}; worst "
        f"region, limit {WORST_REGION.text}), then PSNR over the {FLOOR} in pairs of subjects with "
        "95 % bootstrap intervals"
    )


def _generalises(cells: Sequence[CellResult], model: str) -> str:
    """What is new to the training, by kind."""
    new: dict[str, list[str]] = {}
    unknown: dict[str, None] = {}
    for cell in cells:
        for scores in cell.models:
            if scores.model != model or scores.novelty is None:
                continue
            values = {"pair": " + ".join(t.upper() for t in cell.tracers)}
            values |= {name: getattr(cell, name, "") for name in vars(scores.novelty)}
            for name, seen in vars(scores.novelty).items():
                if seen == "new":
                    new.setdefault(name, []).append(str(values.get(name) or ""))
                elif seen == "unknown":
                    unknown[name] = None
    texts = [f"{name} {_several(of)}".strip() for name, of in new.items()]
    texts = [
        f"asked of what the training had not seen: {', '.join(texts)}; see what fails"
        if texts
        else "nothing that the training had not seen was asked"
    ]
    if unknown:
        texts.append(f"whether the training had seen the {_several(unknown)} is not known")
    return "; ".join(texts)


def _not_shown(headers: Mapping[str, StoreHeader]) -> str:
    simulated = all(header.origin == "simulated" for header in headers.values())
    text = "patients: every scan here is simulated; " if simulated else ""
    return text + (
        "other scanners, tracers, doses and protocols than those above; effects on diagnosis or "
        "treatment"
    )


def _several(values: object) -> str:
    """Different values in words, in their order."""
    found = [value for value in dict.fromkeys(values) if value]  # type: ignore[call-overload]
    if len(found) < 2:
        return "".join(found)
    return f"{', '.join(found[:-1])} and {found[-1]}"
