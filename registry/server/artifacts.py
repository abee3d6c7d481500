"""Where a team's server keeps artifacts: an S3 bucket or a folder, tried before it starts."""

from __future__ import annotations

import os
import tempfile
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.environment_variables import MLFLOW_S3_IGNORE_TLS

from dtsinn.core.causes import brief, in_our_words
from dtsinn.core.errors import InputError
from dtsinn.registry.tracking.names import hide_secrets

CONNECT_LIMIT_s = 5
ANSWER_LIMIT_s = 15
ATTEMPTS = 2


def check_destination(url: str) -> str:
    """Write, read and delete a small object.

    Args:
        url: ``s3://bucket/prefix``, an absolute folder or its ``file://`` URL.

    Returns:
        The URL as MLflow takes it.

    Raises:
        InputError: No such place, one that cannot be written, or the S3 client is not installed.
    """
    parts = urlsplit(url)
    ends = sorted(set("?#\\") & set(url))
    if ends:
        raise InputError(
            "where artifacts go",
            got=hide_secrets("url", url),
            wanted=f"a place without {' '.join(ends)}, at which a URL may end",
        )
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        _try_bucket(parts.netloc, parts.path.strip("/"))
        return url.rstrip("/")
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return _try_folder(Path(unquote(parts.path)))
    if not parts.scheme and Path(url).is_absolute():
        return _try_folder(Path(url))
    raise InputError(
        "where artifacts go",
        got=hide_secrets("url", url) or "nothing",
        wanted="s3://BUCKET/PREFIX or an absolute folder",
        hint="DTSINN_ARTIFACTS=s3://...",
    )


def _try_folder(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"dtsinn")
    except OSError as error:
        raise in_our_words(error, f"{folder} cannot be written", InputError) from None
    return folder.as_uri()


def _try_bucket(bucket: str, prefix: str) -> None:
    if find_spec("boto3") is None:
        raise InputError("boto3 is not installed", hint='pip install "dtsinn[server]"')
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    key = f"{prefix}/.dtsinn-{uuid.uuid4().hex}".lstrip("/")
    limits = Config(
        connect_timeout=CONNECT_LIMIT_s,
        read_timeout=ANSWER_LIMIT_s,
        retries={"total_max_attempts": ATTEMPTS},
        s3={"addressing_style": os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "auto")},
    )
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL")  # MLflow's own name for AWS_ENDPOINT_URL
    verify = False if MLFLOW_S3_IGNORE_TLS.get() else None  # type: ignore[no-untyped-call]
    try:
        client = boto3.session.Session().client(
            "s3", endpoint_url=endpoint, config=limits, verify=verify
        )
        try:
            _require_bucket(client, bucket)  # some servers make one that an object names
            client.put_object(Bucket=bucket, Key=key, Body=b"dtsinn")
            client.get_object(Bucket=bucket, Key=key)["Body"].read()
            client.delete_object(Bucket=bucket, Key=key)
        finally:
            client.close()
    except (BotoCoreError, ClientError, ValueError) as error:
        raise InputError(
            f"the bucket {bucket} cannot be written",
            got=brief(error),
            hint="MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from None


def _require_bucket(client: Any, bucket: str) -> None:
    try:
        client.head_bucket(Bucket=bucket)
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            raise InputError(f"there is no bucket {bucket}", hint="making it first") from None
        # One who may not ask whether it is there may still be one who may write.
