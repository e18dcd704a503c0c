"""Files of other projects for the tests, and how they are imported."""

import json

import pytest
from foreign import jsonl

from alignment_limits.importers.imported import import_files
from alignment_limits.importers.rows import Choices


@pytest.fixture
def imports(tmp_path):
    """Import records that are first written as JSON lines, or files."""

    def run(given, format=None, *, keep=(), accept=(), complete=(), most=None, **choices):
        files = jsonl(tmp_path / "given.jsonl", given) if isinstance(given[0], dict) else given
        chosen = Choices(**{k: tuple(v) if k == "scores" else v for k, v in choices.items()})
        return import_files(files, format, chosen, keep=keep, accept=accept, complete=complete, most=most)

    return run


@pytest.fixture
def found(imports):
    """The findings in records, by name."""

    def run(given, *more, **choices):
        return {finding.name: finding for finding in imports(given, *more, **choices).findings}

    return run


@pytest.fixture
def edited():
    """Change records of a file of JSON lines."""

    def run(file, change):
        records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        for i, record in enumerate(records):
            change(i, record)
        return jsonl(file, records)

    return run
