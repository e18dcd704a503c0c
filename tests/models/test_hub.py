"""Fetching with the real client of the hub, from a server on loopback that speaks the hub's HTTP API."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

COMMIT = "a" * 40
WEIGHTS = bytes(range(256)) * 2**16  # 17 MB: the client writes 10 MB at once


class Hub(http.server.ThreadingHTTPServer):
    """Repositories by their path in URLs, such as datasets/owner/name."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = {}
        self.refused = {}
        self.drop_after = {}  # bytes of a file after which the connection ends, once
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append((self.command, self.path, self.headers.get("Range")))
        tree = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/(\w+)(\?.*)?", self.path)
        file = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/(\w+)/(.+)", self.path)
        if tree:
            repository, commit = ("datasets/" if tree[1] == "datasets" else "") + tree[2], tree[3]
        elif file:
            repository, commit = file[1], file[2]
        else:
            return self.reply(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})
        if repository in self.server.refused:
            return self.reply(*self.server.refused[repository][:1], b"{}", body, self.server.refused[repository][1])
        if repository not in self.server.repositories:
            return self.reply(401, b"{}", body, {"X-Error-Code": "RepoNotFound"})
        if commit != COMMIT:
            return self.reply(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
        files = self.server.repositories[repository]
        if tree:
            listed = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            return self.reply(200, json.dumps(listed).encode(), body, {"Content-Type": "application/json"})
        content = files[file[3]]
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")[1])
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        drop = self.server.drop_after.pop(file[3], None) if body else None
        return self.reply(206 if start else 200, content[start:], body, headers, drop)

    def reply(self, status, content, body, headers, drop=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[:drop])
        if drop is not None:
            self.close_connection = True


@pytest.fixture
def hub():
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


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
    own = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "home"), "HF_TOKEN": ""}
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps(given)]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


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
