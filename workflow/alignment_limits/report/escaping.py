"""Text of a study in Snakemake's report cannot run.

Snakemake writes params, captions and results into the page as JSON inside script elements, as they are: a `</script>`
in a reward's description ends the element, and what follows runs. JSON with its angle brackets and ampersands as
escapes says the same and holds no markup.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

REPORTER = "snakemake.report.html_reporter"
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def dumps(value: Any, **options: Any) -> str:
    """JSON without `<`, `>` and `&`, which occur within its strings only."""
    return json.dumps(value, **options).translate(_ESCAPES)


def escape_report() -> None:
    """Have Snakemake's reporter, where it is loaded, write its JSON by `dumps`."""
    for name, module in list(sys.modules.items()):
        if name.startswith(REPORTER) and hasattr(module, "json"):
            vars(module)["json"] = SimpleNamespace(dumps=dumps, loads=json.loads)
