"""Whether a tracking server answers, and if not, why: one question, one line.

MLflow's client asks again and again before it gives up, and its messages carry whole pages.
"""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from dtsinn.core.causes import brief
from dtsinn.core.errors import RunError
from dtsinn.registry.tracking.names import hide_secrets

ANSWER_LIMIT_s = 15
QUESTION = "/api/2.0/mlflow/experiments/search"
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def ask(uri: str) -> None:
    """Ask a server for one experiment.

    Args:
        uri: ``http://`` or ``https://`` address of an MLflow server.

    Raises:
        RunError: It does not answer, not as MLflow does, or not to this user.
    """
    place = hide_secrets("uri", uri)
    creds = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            creds,
            QUESTION,
            "POST",
            json={"max_results": 1},
            max_retries=0,
            timeout=ANSWER_LIMIT_s,
            raise_on_status=False,
        )
    except (MlflowException, OSError) as error:
        raise RunError(
            f"the tracking server {place} does not answer",
            got=_reason(error),
            hint="MLFLOW_TRACKING_URI, or whether it runs",
        ) from error
    if answer.status_code == 401:
        named = creds.username or "@" in uri.partition("//")[2].partition("/")[0]
        raise RunError(
            f"the tracking server {place} "
            + ("refuses this user or password" if named else "asks for a user and a password"),
            hint=CREDENTIALS,
        )
    if answer.status_code == 429:
        raise RunError(
            f"the tracking server {place} has had too many wrong passwords",
            hint=f"again in {answer.headers.get('Retry-After', 'a few hundred')} s",
        )
    if answer.status_code == 403:
        raise RunError(
            f"the tracking server {place} refuses",
            got=" ".join(answer.text.split())[:100],
            hint="the server's --allowed-host, or its admin",
        )
    if answer.status_code >= 500:
        raise RunError(
            f"the tracking server {place} cannot answer now",
            got=f"status {answer.status_code}",
            hint="its log, its database, or the proxy before it",
        )
    if answer.status_code != 200 or not _is_mlflows(answer):
        raise RunError(
            f"{place} answers, but not as MLflow does",
            got=f"status {answer.status_code}",
            hint="MLFLOW_TRACKING_URI=http://HOST:PORT",
        )


def _is_mlflows(answer: object) -> bool:
    try:
        content = answer.json()  # type: ignore[attr-defined]
    except ValueError:
        return False
    return isinstance(content, dict) and set(content) <= {"experiments", "next_page_token"}


def _reason(error: Exception) -> str:
    """The innermost cause: what the network said, without the layers that pass it on."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    text = brief(seen if isinstance(seen, Exception) else error)
    return text.partition("] ")[2] or text if text.startswith("[") else text
