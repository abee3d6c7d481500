"""What a trial's worker takes for what."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from dtsinn.search.engine.trial import is_disk_full


def test_a_full_disk_and_a_spent_quota_are_known() -> None:
    with (
        pytest.raises(OSError, match="No space") as full,
        Path("/dev/full").open("wb", buffering=0) as disk,
    ):
        disk.write(b"x")
    assert is_disk_full(full.value)
    assert is_disk_full(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)))
    assert is_disk_full(SafetensorError("I/O error: Disk quota exceeded (os error 122)"))
    assert not is_disk_full(FileNotFoundError(errno.ENOENT, "No such file"))
    assert not is_disk_full(SafetensorError("header too large"))
