"""Where torch computes."""

from __future__ import annotations

from dtsinn.core.errors import InputError


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or that is not there.

    Raises:
        InputError: It cannot hold an array.
    """
    if device == "cpu":
        return
    import torch  # seconds, which commands on the CPU need not wait for

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "no such device", got=f"{device!r} ({reason})", wanted="cpu, cuda or the like"
        ) from None
