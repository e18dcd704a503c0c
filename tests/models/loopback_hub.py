"""A server on loopback that speaks as much of the hub's HTTP API as its client asks for."""

import hashlib
import http.server
import json
import re
import threading
from contextlib import contextmanager
from pathlib import Path


class Hub(http.server.ThreadingHTTPServer):
    """Repositories by their path in URLs, such as datasets/owner/name."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = {}
        self.commit = "a" * 40  # of every repository; None: whichever is asked for
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
        if self.server.commit not in (None, commit):
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
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
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


@contextmanager
def serving():
    """A hub while the block runs."""
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def client_of(server, home):
    """Variables with which the hub's client asks this server; it reads them when it is imported."""
    return {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_TOKEN": ""}


def content(folder):
    """Every file below a folder, by its path there."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}
