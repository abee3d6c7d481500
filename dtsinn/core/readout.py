"""Read-outs: the number that people take from a tracer's images, and how it is fitted."""

from __future__ import annotations

from dataclasses import dataclass

from dtsinn.core.checks import not_negative
from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError

METHODS = {"logan": "V_T", "patlak": "Ki", "one_tissue": "K1"}
"""Method of a read-out -> the quantity that it gives."""
QUANTITY_UNITS = {
    "V_T": "mL/cm3",
    "Ki": "mL/cm3/min",
    "K1": "mL/cm3/min",
    "DVR": "1",
    "SUVR": "1",
}
"""Unit of every quantity that is read from a region."""
LATEST_MIN = 600.0
"""Beyond, a start is one in seconds."""


@dataclass(frozen=True, kw_only=True)
class Readout:
    """What is read from a tracer's decay-corrected images.

    Attributes:
        quantity: ``V_T`` (mL/cm3), ``Ki`` or ``K1`` (mL/cm3/min).
        method: ``logan`` gives V_T, ``patlak`` Ki, ``one_tissue`` K1.
        start_min: Minutes after the injection from which frames are used; 0 for ``one_tissue``,
            which takes all.
        reference: Region without specific binding, for DVR and SUVR; empty where there is none.
        source: Where method, start and reference come from, or "uncited".
    """

    __pydantic_config__ = STRICT

    quantity: str
    method: str
    start_min: float
    reference: str = ""
    source: str

    def check(self, where: str, regions: tuple[str, ...]) -> None:
        """Refuse what cannot be read.

        Args:
            where: Name of the read-out, for errors.
            regions: Those that the tracer has kinetics for.

        Raises:
            InputError: An unknown method, another quantity than it gives, or a wrong start.
        """
        if self.method not in METHODS:
            raise InputError(f"{where}.method", got=repr(self.method), wanted=", ".join(METHODS))
        if self.quantity != METHODS[self.method]:
            wanted = f"{METHODS[self.method]}, as {self.method} gives"
            raise InputError(f"{where}.quantity", got=repr(self.quantity), wanted=wanted)
        not_negative(f"{where}.start_min", self.start_min)
        if self.start_min > LATEST_MIN or (self.start_min and self.method == "one_tissue"):
            wanted = "0" if self.method == "one_tissue" else f"at most {LATEST_MIN:g}"
            hint = "minutes, not seconds" if self.start_min > LATEST_MIN else ""
            raise InputError(f"{where}.start_min", got=self.start_min, wanted=wanted, hint=hint)
        if self.reference and self.reference not in regions:
            wanted = f"one of {', '.join(regions)}, or none"
            raise InputError(f"{where}.reference", got=repr(self.reference), wanted=wanted)
        if not self.source.strip():
            raise InputError(f"{where}.source is empty", wanted="a source, or uncited")

    def text(self) -> str:
        """One line for people: ``V_T by Logan from 20 min, reference cerebellum``."""
        method = {"logan": "Logan", "patlak": "Patlak", "one_tissue": "one-tissue fit"}
        start = f" from {self.start_min:g} min" if self.method != "one_tissue" else ""
        reference = f", reference {self.reference}" if self.reference else ""
        return f"{self.quantity} by {method[self.method]}{start}{reference}"
