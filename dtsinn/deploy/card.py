"""``card.md``: what a person should know about a separator before using it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.display import value_text
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.networks.build import parameter_count
from dtsinn.networks.separator import SeparatorNetwork

PYTHON_USE = """\
from pathlib import Path

from dtsinn.deploy.separator import Separator

separator = Separator.load(Path("."))          # this folder; verifies every file first
tracers = separator.separate(mixture)          # [N, T, Y, X] -> [N, 2, T, Y, X], kBq/mL
scale = separator.scale(mixture)               # [N], kBq/mL
"""

PYTHON_INVERSE_USE = """\
again = separator.mix(tracers, scale)          # [N, T, Y, X]: the mixture, up to rounding
"""

PYTHON_LATENT_USE = """\
latent = separator.latent(mixture, tracers)    # [N, T, Y, X], kBq/mL: what no tracer explains
again = separator.mix(tracers, scale, latent)  # [N, T, Y, X]: the mixture, up to rounding
"""

ONNX_USE = """\
import onnxruntime

model = onnxruntime.InferenceSession("model.onnx")
tracers, scale = model.run(None, {"mixture": mixture})
"""

ONNX_INVERSE_USE = """\
inverse = onnxruntime.InferenceSession("inverse.onnx")
(again,) = inverse.run(None, {"tracers": tracers, "scale": scale})
"""

ONNX_LATENT_USE = """\
inverse = onnxruntime.InferenceSession("inverse.onnx")
latent = mixture - tracers.sum(axis=1)
(again,) = inverse.run(None, {"tracers": tracers, "latent": latent})
"""


def card_text(info: SeparatorInfo, digest: str, network: SeparatorNetwork) -> str:
    """The card of a separator, Markdown.

    Args:
        info: What it is.
        digest: Its digest, see :func:`dtsinn.deploy.package.package_digest`.
        network: Its network, trainable.
    """
    sections = (
        _opening(info, digest),
        _protocol(info),
        _trained_on(info),
        _metrics(info),
        _use(info, network),
        _limits(info, network),
        _network(info, parameter_count(network)),
        _lineage(info),
    )
    return "\n".join(sections)


def _opening(info: SeparatorInfo, digest: str) -> str:
    first, second = (_cell(name) for name in info.tracers)
    return f"""# Separator of {first} and {second}

It splits a dynamic PET scan with two tracers, {first} injected first and {second} second, into
the image sequence of each. It was trained for protocol `{_cell(info.protocol)}` with
{info.frames} frames. Activities are in kBq/mL, averaged over a frame and **not** decay-corrected.

Digest of weights and configuration: `{digest}`
"""


def _protocol(info: SeparatorInfo) -> str:
    tracers = [
        (_cell(name), f"{injected:g}", f"{half_life / 60:.4g}")
        for name, injected, half_life in zip(
            info.tracers, info.injection_time, info.half_life, strict=True
        )
    ]
    frames = [
        (str(frame + 1), f"{start:g}", f"{duration:g}")
        for frame, (start, duration) in enumerate(
            zip(info.frame_start, info.frame_duration, strict=True)
        )
    ]
    return f"""## Tracers and frames

{_table(("tracer", "injected at / s", "half-life / min"), tracers)}
{_table(("frame", "start / s", "duration / s"), frames)}"""


def _trained_on(info: SeparatorInfo) -> str:
    rows = [
        (" + ".join(one.tracers), one.protocol, one.phantom or "unknown", one.noise or "unknown")
        for one in info.lineage.trained_on
    ]
    cells = [tuple(map(_cell, row)) for row in rows]
    body = _table(("pair", "protocol", "phantom", "noise"), cells) if cells else "Not recorded.\n"
    return f"## Trained on\n\n{body}"


def _metrics(info: SeparatorInfo) -> str:
    rows = [(_cell(name), f"{value:.4g}") for name, value in sorted(info.metrics.items())]
    body = _table(("metric", "value"), rows) if rows else "None were recorded.\n"
    return f"## Metrics\n\n{body}"


def _use(info: SeparatorInfo, network: SeparatorNetwork) -> str:
    python, onnx = PYTHON_USE, ONNX_USE
    if network.has_latent:
        python, onnx = python + PYTHON_LATENT_USE, onnx + ONNX_LATENT_USE
    elif network.exact:
        python, onnx = python + PYTHON_INVERSE_USE, onnx + ONNX_INVERSE_USE
    first, second = (_cell(name) for name in info.tracers)
    arrays = f"""`mixture` is a float32 array [N, {info.frames}, Y, X] in kBq/mL: N slices of any
        size, each scaled by itself inside the separator. Output 0 is {first}, output 1 is
        {second}."""
    return f"""## Use

{_paragraph(arrays)}
{_paragraph(_inverse(info, network))}

In Python:

```python
{python}```

Without dtsinn, in ONNX Runtime:

```python
{onnx}```
"""


def _inverse(info: SeparatorInfo, network: SeparatorNetwork) -> str:
    if not network.exact:
        kind = info.model.kind
        return f"A network of kind {kind} has no inverse: the tracers cannot be mixed again."
    if network.has_latent:
        return """The inverse mixes them again: their sum, and exactly the mixture together with the
        latent channels, which hold what no tracer explains."""
    if network.divisor == 1:
        return "The inverse mixes them again."
    return f"""The inverse mixes them again where both sides of the slices are multiples of
        {network.divisor}. Other slices are padded with zeros inside the separator and the answer
        is cut; what was cut off is lost to the inverse."""


def _limits(info: SeparatorInfo, network: SeparatorNetwork) -> str:
    knows = "It knows nothing of frame times."
    if network.conditioned:
        knows = """It is told of the frame times, and of injections and half-lives: of those above,
            unless `separator.for_protocol` tells it of others. The ONNX graphs know those above."""
    limits = f"""For research. It is no medical device and its images are no basis for a diagnosis.
        {knows} A scan of other frames than these, even if there are {info.frames} of them, or with
        other tracers is outside of what it was trained for. Measure it there first
        (`dtsinn evaluate`)."""
    return f"## Limits\n\n{_paragraph(limits)}\n"


def _network(info: SeparatorInfo, parameters: int) -> str:
    rows = [
        (key, f"`{_cell(value_text(value, 6))}`") for key, value in to_mapping(info.model).items()
    ]
    rows += [("parameters", f"{parameters}"), ("normalisation", f"`{info.normalisation}`")]
    return f"## Network\n\n{_table(('setting', 'value'), rows)}"


def _lineage(info: SeparatorInfo) -> str:
    plain = flatten(to_mapping(info.lineage))
    del plain["trained_on"]  # has a section of its own
    rows = [
        (_cell(key), f"`{_cell(value_text(value, 6))}`")
        for key, value in plain.items()
        if value != ""
    ]
    return f"## Lineage\n\n{_table(('what', 'value'), rows)}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _paragraph(text: str) -> str:
    """``text`` as lines of even length."""
    return textwrap.fill(" ".join(text.split()), 96, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    """``text`` that cannot break out of its table cell or code span."""
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())
