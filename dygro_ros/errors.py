"""Errors that a user can mend, and the guard that turns them into one sentence and exit code 2."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

USER_ERROR_EXIT_CODE = 2
BROKEN_PIPE_EXIT_CODE = 141  # what a shell reports for a program that SIGPIPE ended

PATH_REFUSALS = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.ENOSPC,
        errno.EDQUOT,
    }
)
"""What a system answers to a path that somebody gave, or for want of space: theirs to mend, not ours."""


class UserError(Exception):
    """Something the caller gave is wrong: the message says what was expected, what came, and where."""


class BundleError(UserError):
    """A policy bundle is missing, damaged or does not fit; the message names the field."""


class DataError(UserError):
    """A demonstration or dataset file is damaged or of another shape; the message names file and field."""


class CheckpointError(UserError):
    """A checkpoint is damaged or belongs to another configuration; the message names the field."""


class DependencyError(UserError):
    """A library or system part is missing; the message holds the command that mends it."""


class CommandRejected(UserError):
    """A chunk or a state is not fit to be used; nothing of it was."""


class NotAllowed(UserError):
    """What was asked of the arms is not possible now; the message says what is missing."""


class RunFolderError(UserError):
    """A run folder exists, is missing, or is not one of ours."""


def unknown_name(kind: str, name: str, known: list[str] | tuple[str, ...], where: str = "") -> UserError:
    """Return (not raise) the error for a name that is not in `known`, with the nearest match.

    Args:
        kind: What the name stands for, such as "task".
        name: What came.
        known: What would have been accepted.
        where: File or option it came from, if any.
    """
    near = get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    place = f" in {where}" if where else ""
    return UserError(f"unknown {kind} {name!r}{place}{hint}: expected one of {', '.join(known)}")


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main`; what the user can mend becomes one sentence on stderr and exit code 2.

    That is every UserError, and what the system answers to a path (`PATH_REFUSALS`). Any other error keeps
    its traceback.
    """
    try:
        try:
            code = main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone, as with `| head`; the interpreter's own last flush must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN_PIPE_EXIT_CODE) from None
    except UserError as error:
        _end_with(str(error), error)
    except OSError as error:
        if error.errno not in PATH_REFUSALS:
            raise
        place = "" if error.filename is None else f": {error.filename}"
        _end_with(f"cannot read or write{place}: {error.strerror}", error)
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code or 0)


def _end_with(sentence: str, cause: Exception) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: error: {sentence}", file=sys.stderr)
    raise SystemExit(USER_ERROR_EXIT_CODE) from cause
