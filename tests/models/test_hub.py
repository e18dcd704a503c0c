"""Fetching with the real client of the hub, from a server on loopback that speaks the hub's HTTP API."""

import json
import os
import subprocess
import sys

import pytest
from loopback_hub import client_of, content, serving

COMMIT = "a" * 40
WEIGHTS = bytes(range(256)) * 2**16  # 17 MB: the client writes 10 MB at once


@pytest.fixture
def hub():
    with serving() as server:
        yield server


MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "model-00001-of-00002.safetensors": WEIGHTS,
    "model-00002-of-00002.safetensors": WEIGHTS[::-1],
    "model.safetensors.index.json": b"{}",
    "modeling_own.py": b"raise SystemExit('run')",
    "pytorch_model.bin": b"pickle",
}

SCRIPT = """
import json, sys
from pathlib import Path
from alignment_limits.errors import SourceError
from alignment_limits.models.fetch import fetch
from alignment_limits.study.base import Source
said = {}
for name, (source, more) in json.loads(sys.argv[2]).items():
    try:
        fetch(Source(**source), Path(sys.argv[1], name), **more)
    except SourceError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def fetched(server, folder, **sources):
    """Fetch sources to folders of these names, in one process: the client reads the hub's address when it is imported.

    Returns:
        the refusals, by name.
    """
    given = {name: (source, source.pop("fetching", {})) for name, source in sources.items()}
    own = client_of(server, folder / "home")
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps(given)]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PINNED = {"hub": f"lab/model@{COMMIT}"}
SECOND = "model-00002-of-00002.safetensors"


def test_what_is_pinned_is_fetched_and_nothing_that_could_run_unless_it_may(hub, tmp_path):
    files = {"data/a.jsonl": b'{"text": "a"}\n', "data/b.jsonl": b'{"text": "b"}\n', "README.md": b"x"}
    hub.repositories |= {"lab/model": MODEL, "datasets/lab/prompts": files}
    data = {"hub": f"lab/prompts@{COMMIT}", "kind": "dataset"}
    trusted = PINNED | {"fetching": {"with_code": True}}
    part = data | {"member": "data"}
    assert fetched(hub, tmp_path, model=dict(PINNED), trusted=trusted, whole=data, part=part) == {}
    kept = {name: data for name, data in MODEL.items() if not name.endswith((".py", ".bin"))}
    assert content(tmp_path / "model") == kept
    assert content(tmp_path / "trusted") == kept | {"modeling_own.py": MODEL["modeling_own.py"]}
    assert content(tmp_path / "whole") == files
    assert content(tmp_path / "part") == {"a.jsonl": files["data/a.jsonl"], "b.jsonl": files["data/b.jsonl"]}
    assert {path.name for path in tmp_path.iterdir()} <= {"model", "trusted", "whole", "part", "home"}


def test_a_dropped_connection_is_taken_up_where_it_ended(hub, tmp_path):
    hub.repositories["lab/model"] = MODEL
    hub.drop_after[SECOND] = 12_000_000
    if refused := fetched(hub, tmp_path, model=dict(PINNED)):  # the client gave up: the next run goes on
        assert "run again: what is downloaded is kept" in refused["model"]
        assert not (tmp_path / "model").exists()
        assert fetched(hub, tmp_path, model=dict(PINNED)) == {}
    assert content(tmp_path / "model")[SECOND] == WEIGHTS[::-1]
    got = [(path.rpartition("/")[2], part) for method, path, part in hub.asked if method == "GET"]
    assert [part for name, part in got if name == SECOND][1:] != [None]  # not from its start again
    assert len([name for name, _ in got if name == SECOND.replace("02-of", "01-of")]) == 1  # finished, not again


def test_a_repository_that_cannot_be_had_is_named_with_the_remedy(hub, tmp_path):
    hub.repositories["lab/model"] = MODEL
    hub.refused |= {"lab/gated": (403, {"X-Error-Code": "GatedRepo"}), "lab/broken": (500, {})}
    names = {"gated": COMMIT, "none": COMMIT, "broken": COMMIT, "model": "b" * 40}
    said = fetched(hub, tmp_path, **{name: {"hub": f"lab/{name}@{commit}"} for name, commit in names.items()})
    assert "lab/gated is gated: accept its terms at https://huggingface.co/lab/gated" in said["gated"]
    assert "does not exist, or needs `hf auth login`" in said["none"]
    assert f"lab/broken@{COMMIT} could not be fetched" in said["broken"]
    assert f"hub repository lab/model has no commit {'b' * 40}" in said["model"]
    assert not any((tmp_path / name).exists() for name in names)
