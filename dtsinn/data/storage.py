"""Where a store lies: local folders and object storage, opened, listed, failures in one line."""

from __future__ import annotations

import asyncio
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from dtsinn.core.bounds import MOST_TEXT, UnfitFileError, in_words, most_memory, open_file
from dtsinn.core.causes import brief, cure_of
from dtsinn.core.errors import DtsinnError, RunError, StoreError
from dtsinn.core.paths import is_url, local_or_url
from dtsinn.data.codecs import limit_codecs

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

S3_OPTIONS: dict[str, Any] = {
    # s3fs tries five times, botocore twice inside each of them. An endpoint that takes
    # connections and never answers is an error within two minutes, not a hang.
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}},
    # What another process wrote must be seen.
    "use_listings_cache": False,
}
"""How s3fs is set up; endpoint and keys come from ``AWS_*`` in the environment."""


class LocalFiles(LocalStore):  # type: ignore[misc]
    """A local folder of which only regular files are read, none of them outside it.

    A file is looked at through the descriptor that reads it: this costs one call of the system
    more than reading, and nothing can be exchanged in between.
    """

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """As zarr's own.

        Raises:
            UnfitFileError: There is no regular file, a link out of the folder, or too large a file.
        """
        if not self._is_open:
            await self._open()
        return await asyncio.to_thread(self._read, key, prototype, byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """As :meth:`get`."""
        self._ensure_open_sync()
        return self._read(key, prototype, byte_range)

    @functools.cached_property
    def _real_root(self) -> Path:
        return Path(os.path.realpath(self.root))

    def _read(
        self, key: str, prototype: BufferPrototype | None, wanted: ByteRequest | None
    ) -> Buffer | None:
        path = self.root / key
        try:
            with open_file(path) as file:
                descriptor = file.fileno()
                if not _real_path(path, descriptor).is_relative_to(self._real_root):
                    raise UnfitFileError(f"{key}: a link that leaves the store")
                size = os.fstat(descriptor).st_size
                most = MOST_TEXT if path.name == "zarr.json" else most_memory(size)
                if size > most:
                    raise UnfitFileError(f"{key}: more than {in_words(most)}")
                content = _part(file, size, wanted)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnfitFileError:
            if path.is_dir():
                return None
            raise
        chosen = default_buffer_prototype() if prototype is None else prototype
        return chosen.buffer.from_bytes(content)


def _real_path(path: Path, descriptor: int) -> Path:
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:  # a system without /proc
        return Path(os.path.realpath(path))


def _part(file: BinaryIO, size: int, wanted: ByteRequest | None) -> bytes:
    """The bytes of a file that zarr asks for."""
    if isinstance(wanted, RangeByteRequest):
        file.seek(wanted.start)
        return file.read(max(0, min(wanted.end, size) - wanted.start))
    if isinstance(wanted, OffsetByteRequest):
        file.seek(wanted.offset)
    elif isinstance(wanted, SuffixByteRequest):
        file.seek(max(0, size - wanted.suffix))
    return file.read()


def zarr_store(path: str, *, read_only: bool) -> LocalStore | FsspecStore:
    """The storage behind a local path or an fsspec URL.

    Raises:
        StoreError: The package for this kind of URL is not installed, or there is none.
    """
    limit_codecs()
    path = local_or_url(path)
    if not is_url(path):
        return LocalFiles(path, read_only=read_only)
    if "::" in path:  # a chain of fsspec's, which could lead to local files
        raise StoreError(f"{path} cannot be opened", got="a chain of URLs", wanted="one URL")
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
    except (ValueError, TypeError, OSError) as error:  # such as zip://, which needs another URL
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
