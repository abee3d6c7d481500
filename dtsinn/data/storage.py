"""Where a store lies: local folders and object storage, opened, listed, failures in one line."""

from __future__ import annotations

import os
from typing import Any

import zarr
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from dtsinn.core.causes import brief, cure_of
from dtsinn.core.errors import DtsinnError, RunError, StoreError
from dtsinn.data.layout import is_url

S3_OPTIONS: dict[str, Any] = {
    # s3fs tries five times, botocore twice inside each of them. An endpoint that takes
    # connections and never answers is an error within two minutes, not a hang (uncited limits).
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}},
    # What another process wrote must be seen.
    "use_listings_cache": False,
}
"""How s3fs is set up; endpoint and keys come from ``AWS_*`` in the environment."""


def zarr_store(path: str, *, read_only: bool) -> LocalStore | FsspecStore:
    """The storage behind a local path or an fsspec URL.

    Raises:
        StoreError: The package for this kind of URL is not installed, or there is none.
    """
    if not is_url(path):
        return LocalStore(path, read_only=read_only)
    scheme = path.partition("://")[0]
    is_s3 = scheme in {"s3", "s3a"}
    try:
        return FsspecStore.from_url(
            path, storage_options=_s3_options() if is_s3 else {}, read_only=read_only
        )
    except ImportError as error:
        raise StoreError(
            f"{path} cannot be opened",
            got=brief(error),
            hint="pip install 'dtsinn[s3]'" if is_s3 else "to install that package",
        ) from None
    except ValueError as error:
        raise StoreError(f"{path} cannot be opened", got=brief(error)) from None


def open_for_writing(path: str) -> zarr.Group:
    """The group at ``path``, as its arrays say, without the consolidated copy of them."""
    return zarr.open_group(
        zarr_store(path, read_only=False), mode="r+", use_consolidated=False, zarr_format=3
    )


def stored_keys(path: str) -> set[str]:
    """The names of all objects below ``path``; none where there is nothing."""
    keys: set[str] = sync(_keys(zarr_store(path, read_only=True)))
    return keys


def is_outage(error: BaseException) -> bool:
    """Whether the storage refused or could not be reached, rather than gave bad content."""
    network = {"botocore", "aiobotocore", "aiohttp"}
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in network


def cannot_write(path: str, error: Exception) -> DtsinnError:
    """The error for a write that storage refused; nothing is lost by it."""
    if isinstance(error, DtsinnError):
        return error
    cure = cure_of(error)
    mended = f"when that is mended{f' ({cure})' * bool(cure)}"
    return RunError(
        f"{path} cannot be written",
        got=brief(error),
        hint=f"the same command again {mended}: it goes on where it stopped",
    )


def _s3_options() -> dict[str, Any]:
    """With the endpoint, as connections are kept by their options and outlive the environment."""
    endpoints = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    endpoint = next((url for url in endpoints if url), None)
    return S3_OPTIONS | ({"endpoint_url": endpoint} if endpoint else {})


async def _keys(store: LocalStore | FsspecStore) -> set[str]:
    return {key async for key in store.list_prefix("")}
