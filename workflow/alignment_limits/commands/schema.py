"""`alignment-limits schema`: the study file's JSON schema, for completion in editors."""

from __future__ import annotations

import argparse
import json

from alignment_limits.study.study import Study


def schema_text() -> str:
    """The schema as `config/schema.json` has it."""
    return json.dumps(Study.model_json_schema(), indent=1) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Print the schema."""
    print(schema_text(), end="")
