"""What every script of the workflow shares: its log, users' errors without a traceback, provenance."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from alignment_limits.artifacts import versions
from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.files import digest


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script's work: stderr also goes to the rule's log; a user's error is one message, exit 1."""
    path = Path(str(snakemake.log[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as log, contextlib.redirect_stderr(_Tee(sys.stderr, log)):
        try:
            yield
        except AlignmentLimitsError as error:
            print(f"\nerror in {snakemake.rule}: {error}\n", file=sys.stderr, flush=True)
            sys.exit(1)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                traceback.print_exc(file=log)
                raise
            print(
                f"\nerror in {snakemake.rule}: no space left on the disk; free some and run again, finished files are "
                "kept\n",
                file=sys.stderr,
                flush=True,
            )
            sys.exit(1)
        except Exception:
            traceback.print_exc(file=log)
            raise


class _Tee:
    """Writes to the terminal and to a log; a progress bar's redraws stay out of the log."""

    def __init__(self, terminal: TextIO, log: TextIO) -> None:
        self._terminal, self._log = terminal, log

    def write(self, text: str) -> int:
        if "\r" not in text:
            self._log.write(text)
        return self._terminal.write(text)

    def flush(self) -> None:
        self._log.flush()
        self._terminal.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)


def say(message: str) -> None:
    """One line for the person watching."""
    print(message, file=sys.stderr, flush=True)


def provenance(snakemake: Any, packages: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """What made an artifact: study, stage, settings and their digest, code fingerprint, versions."""
    settings = dict(snakemake.params.p)
    return {
        "study": snakemake.config["study"],
        "stage": snakemake.rule,
        "config": settings,
        "config_digest": digest(settings),
        "code": digest(dict(snakemake.params.code)),
        "seed": snakemake.config.get("seed", 0),
        "versions": versions(["alignment-limits", "polars", "numpy", *packages]),
        **more,
    }
