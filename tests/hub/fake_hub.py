"""A tiny Hugging Face hub: repositories of files in memory, over HTTP on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from tests.tasks import HANG_S

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Serves `files` (repo -> name -> content); records every request.

    `gated` repositories refuse; a file in `stalled` stops half-way until the hub shuts down.
    """

    files: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    half_sent: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> FakeHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def ranges(self) -> list[str]:
        """The Range headers of the downloads so far."""
        return [r for method, _, r in self.requests if method == "GET" and r is not None]


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[FakeHub]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if path.startswith("api/models/"):
            owner, name, kind, *rest = path.removeprefix("api/models/").split("/")
            self._api(f"{owner}/{name}", kind, rest)
        elif "/resolve/" not in path:
            self._send(404, b"", {})
        else:
            owner, name, _, revision, *rest = path.split("/")
            self._file(f"{owner}/{name}", revision, "/".join(rest))

    def _refused(self, repo: str, revision: str) -> bool:
        if repo in self.hub.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif repo not in self.hub.files:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            return False
        return True

    def _api(self, repo: str, kind: str, rest: list[str]) -> None:
        if self._refused(repo, rest[0]):
            return
        files = self.hub.files[repo]
        if kind == "revision":
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            body: object = {"id": repo, "sha": COMMIT, "siblings": siblings}
        else:
            body = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                for name, data in files.items()
            ]
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: str, revision: str, name: str) -> None:
        if self._refused(repo, revision):
            return
        data = self.hub.files[repo].get(name)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        headers = {
            "ETag": f'"{_etag(data)}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        status, begin, asked = 200, 0, self.headers.get("Range")
        if asked and self.command == "GET":
            begin = int(asked.removeprefix("bytes=").split("-")[0])
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and name in self.hub.stalled:
            self._stall(data, headers)
        else:
            self._send(status, data[begin:], headers)

    def _stall(self, data: bytes, headers: dict[str, str]) -> None:
        self._headers(200, len(data), headers)
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.hub.half_sent.set()
        self.hub.closing.wait(HANG_S)
        self.close_connection = True

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._headers(status, len(body), headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _headers(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
