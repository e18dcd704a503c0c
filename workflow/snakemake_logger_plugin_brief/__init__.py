"""`--logger brief`: what a person wants to see of a run. Snakemake finds the module by its name.

Its own `--quiet rules` also hides the errors of jobs, and `--quiet all` hides every error.
"""

import logging
import sys
import time
from collections import Counter
from typing import Any

from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

EVERY = 10.0  # seconds between lines of progress


class LogHandler(LogHandlerBase):
    """Progress, warnings and errors; the listing of jobs is in Snakemake's own log, .snakemake/log.

    A dry run is shown whole, as it is nothing but its listing; so is a run with `--printshellcmds` or `--verbose`.
    """

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        s: Any = self.common_settings
        self.whole = s.dryrun or s.verbose or s.debug_dag or s.printshellcmds
        # of Snakemake's kinds of quiet only what concerns a listing counts: errors are always shown
        self._listing = DefaultFilter(s.quiet, s.debug_dag, s.verbose, s.dryrun, s.printshellcmds)
        self.setFormatter(DefaultFormatter(s.quiet, s.show_failed_logs))
        self._running: dict[int, str] = {}
        self._due = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, or note what it says of jobs."""
        try:
            if line := self._line(record):
                print(line, file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str | None:
        event = getattr(record, "event", None)
        if record.levelno >= logging.WARNING or (self.whole and self._listing.filter(record)):
            return self.format(record)
        fields = record.__dict__
        if event == LogEvent.RUN_INFO:
            several = {rule: n for rule, n in fields["stats"].items() if n > 1 and rule != "total"}
            return f"{fields['stats']['total']} jobs to run" + (f", among them {_listed(several)}" if several else "")
        if event == LogEvent.JOB_INFO:
            self._running[fields["jobid"]] = fields["rule_name"]
        elif event == LogEvent.JOB_FINISHED:
            self._running.pop(fields["job_id"], None)
        elif event == LogEvent.PROGRESS:
            return self._progress(fields["done"], fields["total"])
        elif event is None and record.getMessage().startswith("Nothing to be done"):
            return "nothing to be done: all is there already"
        return None

    def _progress(self, done: int, total: int) -> str | None:
        now = time.monotonic()
        if now < self._due and done < total:
            return None
        self._due = now + EVERY
        running = f"; running: {_listed(Counter(self._running.values()))}" if self._running else ""
        return f"{done} of {total} jobs done ({done / total:.0%}){running}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(rule if n == 1 else f"{n} {rule}" for rule, n in counts.items())
