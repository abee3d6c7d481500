"""A log of every command in ``WORKSPACE/logs``: what ran, on what, and the traceback of its end.

A log may be sent to others, so no name of a subject gets into it. Of the command line it keeps
options, numbers and dtsinn's own words; other values, which may be paths or names, are written as
``…`` and are taken out of messages too, as are all other paths. Of a command that reads foreign
files no message is kept, as it may quote them: kinds of errors and lines of code are.

A log never makes a workspace, and one that cannot be written breaks no command.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from dtsinn.core.causes import brief
from dtsinn.core.paths import home_path
from dtsinn.core.version import collect_versions
from dtsinn.core.workspace import DEFAULT, VARIABLE, Workspace

MOST_LOGS = 200
"""Logs that a workspace keeps (uncited)."""
MOST_bytes = 2**20
"""Length of one log (uncited)."""
MOST_FRAMES = 40
"""Innermost lines of a traceback that are kept (uncited)."""
FOREIGN = "import", "separate"
"""Commands that read files which may name subjects."""
PLAIN = {
    "tracers", "protocol", "phantom", "noise", "noise_model", "labels", "scanner", "dtype",
    "device", "kind", "max_memory", "config", "set_", "space", "objective", "time_budget",
    "gpus_per_trial", "sampler", "scheduler", "gate", "suite",
}  # fmt: skip
"""Parameters of commands whose words are dtsinn's own, unless they are files."""
HIDDEN = "…"

_WORDS = re.compile(r"(?!.*\.(ya?ml|json)\b)[\w.,:=+<>-]+", re.IGNORECASE)
_PATH = re.compile(r"(?<!\S)\S*[/\\].*?(?=: |; |$)")
"""A path with whatever follows it, up to the next clause: names of folders may hold blanks."""


class CommandLog(logging.Handler):
    """The log of one command, and a handler of dtsinn's loggers while it runs.

    It is begun as soon as there is a workspace: at once, or when the command has made one.

    Args:
        commands: The command line's commands.
        words: What was typed after ``dtsinn``.
    """

    def __init__(self, commands: TyperGroup, words: Sequence[str]) -> None:
        super().__init__()
        self.path: Path | None = None
        """Where the file lies; None while there is none."""
        self.name_of_command, self.line, self._hidden = redact_command_line(commands, words)
        self._workspace = Workspace(_find_workspace(words))
        self._began = datetime.now(UTC)
        self._clock = time.monotonic()
        self._room = MOST_bytes
        self._wanted = bool(words) and "--help" not in words

    def __enter__(self) -> CommandLog:
        logging.getLogger("dtsinn").addHandler(self)
        self._write("")
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        logging.getLogger("dtsinn").removeHandler(self)
        code = getattr(error, "exit_code", 0 if error is None else 1)
        seconds = time.monotonic() - self._clock
        self._write(f"{_now()} exit code {code} after {seconds:.1f} s\n")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; one that no other handler takes goes to the terminal as without a log."""
        try:
            text = "(not kept)" if self._is_foreign else self._redact(record.getMessage())
        except Exception:  # a message that does not fit its arguments
            self.handleError(record)
            return
        line = f"{_now()} {record.levelname} {record.name}: {text}\n"
        self._write(line, leave=MOST_bytes // 4)  # for how it ends
        last = logging.lastResort
        if last and record.levelno >= last.level and not self._has_other_handlers(record.name):
            last.handle(record)

    def log_failure(self, error: BaseException) -> None:
        """Keep the traceback of an error and of those that led to it."""
        self._write("".join(f"{line}\n" for line in self._format_traceback(error, set())))

    @property
    def _is_foreign(self) -> bool:
        return self.name_of_command in FOREIGN

    def _has_other_handlers(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False

    def _format_traceback(self, error: BaseException, seen: set[int]) -> Iterator[str]:
        """Lines of a traceback: what came first stands first, as Python prints it."""
        seen.add(id(error))
        before = error.__cause__ or error.__context__  # "from None" is for the terminal
        for inner in (before, *getattr(error, "exceptions", ())):
            if inner is not None and id(inner) not in seen:
                yield from self._format_traceback(inner, seen)
                yield "which led to"
        for frame in traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]:
            place = f"{_shorten_code_path(frame.filename)}:{frame.lineno}"
            yield f"  {place} in {frame.name}: {frame.line}"
        said = "" if self._is_foreign else f": {self._redact(brief(error))}"
        yield f"{type(error).__module__}.{type(error).__qualname__}{said}"

    def _redact(self, text: str) -> str:
        """A text on one line without what the user named, and without paths."""
        text = " ".join(text.split())
        for word in self._hidden:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", HIDDEN, text)
        return _PATH.sub(HIDDEN, text)

    def _write(self, text: str, leave: int = 0) -> None:
        """Append to the file, which is begun when there is a workspace, what it has room for."""
        with contextlib.suppress(OSError, ValueError), self._lock():
            if self.path is None:
                if not self._wanted or not self._workspace.is_begun:
                    return
                self._begin()
            content = text.encode(errors="replace")
            if self.path is not None and len(content) <= self._room - leave:
                self._room -= len(content)
                with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND), "wb") as file:
                    file.write(content)

    def _begin(self) -> None:
        self._wanted = False  # also where it fails: it is tried once
        folder = self._workspace.logs
        folder.mkdir(mode=0o700, exist_ok=True)
        for old in sorted(folder.glob("*.log"))[: 1 - MOST_LOGS or None]:
            old.unlink(missing_ok=True)
        stamp = f"{self._began:%Y%m%dT%H%M%S}.{self._began.microsecond // 1000:03d}Z"
        path = folder / f"{stamp}-{self.name_of_command}-{os.getpid()}.log"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self.path = path
        code = ", ".join(f"{name} {version}" for name, version in collect_versions().items())
        self._write(f"{self._began:%Y-%m-%dT%H:%M:%SZ} {self.line}\n{code}, {sys.platform}\n")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()


def redact_command_line(commands: TyperGroup, words: Sequence[str]) -> tuple[str, str, list[str]]:
    """What a log says of a command line.

    Args:
        commands: The command line's commands.
        words: What was typed after ``dtsinn``.

    Returns:
        The command's name, the line with its private values hidden, and these values with the
        parts of the paths that they are, longest first.
    """
    command: Any = commands
    rest = list(words)
    path = []
    while rest and isinstance(command, TyperGroup) and rest[0] in command.commands:
        path.append(rest.pop(0))
        command = command.commands[path[-1]]
    options = {name: one for one in command.params for name in one.opts if name[:1] == "-"}
    shown, hidden, expecting = ["dtsinn", *path], set(), None
    for word in rest:
        name, equals, value = word.partition("=")
        if name in options:
            shown.append(name)
            expecting = options[name]
            if not equals:
                continue
        else:
            value = word
        if expecting is not None and _is_plain(expecting, value):
            shown.append(value)
        else:
            shown.append(HIDDEN)
            hidden.update(_list_private_words(value))
        expecting = None
    return "-".join(path) or "dtsinn", " ".join(shown), sorted(hidden, key=len, reverse=True)


def _is_plain(parameter: Any, value: str) -> bool:
    """Whether an option's value is a number or a word of dtsinn's, and nothing of the user's."""
    takes = parameter.type_descriptor
    if takes.annotation in (int, float):
        return re.fullmatch(r"[-+.\deE]+", value) is not None
    if takes.is_choice:
        return value.lower() in {str(getattr(one, "value", one)).lower() for one in takes.choices}
    return parameter.name in PLAIN and _WORDS.fullmatch(value) is not None


def _list_private_words(value: str) -> set[str]:
    """A value, and if it is a path the folders on the way to it, and its name without endings."""
    whole = {value}
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        path = Path(value)
        for part in (*path.parts, *path.resolve().parts):
            whole |= {part, part.partition(".")[0]}
    return {part for part in whole if len(part) > 2}


def _find_workspace(words: Sequence[str]) -> Path:
    """The workspace that a command line names, or that is used where it names none."""
    given = os.environ.get(VARIABLE) or str(DEFAULT)
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == "--workspace":
            given = value if equals else after
    return home_path(given or DEFAULT)


def _shorten_code_path(file: str) -> str:
    """A file of code, from the folder that it is imported from: that folder may name the user."""
    inside = [folder for folder in sys.path if folder and file.startswith(folder.rstrip("/") + "/")]
    return file[len(max(inside, key=len).rstrip("/")) + 1 :] if inside else Path(file).name


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
