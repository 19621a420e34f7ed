"""A model hub on this machine that speaks the HTTP interfaces of Hugging Face and of ModelScope.

It serves folders as repositories to the real clients, writes down every request, and can be told to misbehave.
As a program it serves folders until it is stopped:

    python tests/integration/loopback_hub.py --port 8901 --model tiansz/bert-base-chinese=some/folder
    HF_ENDPOINT=http://127.0.0.1:8901 MODELSCOPE_ENDPOINT=http://127.0.0.1:8901 ...
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from loopback_uploads import Uploads

LARGE_FILES = (".safetensors", ".parquet", ".bin", ".h5", ".msgpack", ".onnx")
CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True)
class Hangup:
    """Closes the connection without an answer."""


@dataclass(frozen=True)
class Stall:
    """Falls silent, before the answer or after so many bytes of the body."""

    after_bytes: int | None = None


@dataclass(frozen=True)
class Answer:
    """Answers with a status instead of the content."""

    status: int
    retry_after: str | None = None
    body: str = "{}"


@dataclass(frozen=True)
class Redirect:
    """Sends the client to another address."""

    location: str


@dataclass(frozen=True)
class Cut:
    """Closes the connection after so many bytes of the body."""

    after_bytes: int


@dataclass(frozen=True)
class WrongBytes:
    """Sends a body of the right length with another content."""


@dataclass(frozen=True)
class Slow:
    """Sends a chunk of 16 KiB each so many seconds."""

    seconds_per_chunk: float


Action = Hangup | Stall | Answer | Redirect | Cut | WrongBytes | Slow


@dataclass
class Fault:
    """An action for the next requests whose path matches."""

    pattern: str
    action: Action
    times: int | None


@dataclass(frozen=True)
class Request:
    """One request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    range: str | None
    authorization: str | None
    cookie: str | None
    host: str


@dataclass
class Repository:
    """Folders by revision; `main` (or `master`) is the default."""

    folders: dict[str, Path] = field(default_factory=dict)
    token: str | None = None

    def folder(self, revision: str) -> Path | None:
        for name, folder in self.folders.items():
            if revision in (name, commit_of(folder)) or {revision, name} <= {"main", "master"}:
                return folder
        return None


def commit_of(folder: Path) -> str:
    """A commit id that changes with the content."""
    digest = hashlib.sha1()
    for path in files_of(folder):
        digest.update(f"{path} {sha256_of(folder / path)}\n".encode())
    return digest.hexdigest()


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def git_sha1_of(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class LoopbackHub:
    """The server; use it as a context manager."""

    def __init__(self, port: int = 0) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.uploads: Uploads | None = None
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def add(
        self, name: str, folder: Path, *, kind: str = "model", revision: str = "main", token: str | None = None
    ) -> None:
        """Serves a folder as a revision of a repository; with a token, only to who sends it."""
        repository = self.repositories.setdefault((kind, name), Repository())
        repository.folders[revision] = folder
        repository.token = token

    def accept_uploads(self, folder: Path, *, token: str) -> Uploads:
        """Lets clients with a token make repositories, below a folder."""
        self.uploads = Uploads(folder, token, self.endpoint)
        return self.uploads

    def fail(self, pattern: str, action: Action, times: int | None = None) -> None:
        """Misbehaves on paths that match the pattern; for ModelScope's files the path ends in `?FilePath`."""
        self.faults.append(Fault(pattern, action, times))

    def take_fault(self, path: str) -> Action | None:
        with self.lock:
            for fault in self.faults:
                if fnmatchcase(path, fault.pattern) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault.action
        return None

    def downloaded(self) -> set[str]:
        """Names of the files whose content was asked for."""
        found = set()
        for request in self.requests:
            if "/resolve/" in request.path:
                found.add(unquote(request.path.split("/resolve/")[1].split("/", 1)[1]))
            elif request.path.endswith("/repo"):
                found.add(request.query["FilePath"])
        return found

    def __enter__(self) -> LoopbackHub:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening; a second call does nothing."""
        if not self.stopping.is_set():
            self.stopping.set()
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        self.close_connection = True
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        headers = self.headers
        self.hub.requests.append(
            Request(
                self.command,
                path,
                query,
                headers.get("Range"),
                headers.get("Authorization"),
                headers.get("Cookie"),
                headers.get("Host", ""),
            )
        )
        matched = f"{path}?{query['FilePath']}" if "FilePath" in query else path
        self.action = self.hub.take_fault(matched)
        # A client that gives up is part of the tests.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._misbehave_or_answer(path, query)

    def _misbehave_or_answer(self, path: str, query: dict[str, str]) -> None:
        match self.action:
            case Hangup():
                return
            case Stall(after_bytes=None):
                self.hub.stopping.wait()
            case Answer(status=status, retry_after=retry_after, body=body):
                self._send(status, body.encode(), {"Retry-After": retry_after} if retry_after else {})
            case Redirect(location=location):
                self._send(302, b"", {"Location": location})
            case _:
                self._route(path, query)

    def _route(self, path: str, query: dict[str, str]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.uploads:
            answer = self.hub.uploads.answer(self.command, path, body, self.headers.get("Authorization"))
            if answer:
                self._send_json(*answer)
                return
        routes = (
            (r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/revision/(.+))?", self._huggingface_info),
            (r"/api/(model|dataset)s/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", self._huggingface_tree),
            (r"/(dataset)s/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._huggingface_file),
            (r"/()([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._huggingface_file),
            (r"/large/(model|dataset)/([^/]+/[^/]+)/([^/]+)/(.+)", self._large_file),
            (r"/api/v1/(model|dataset)s/([^/]+/[^/]+)/repo/(?:files|tree)", self._modelscope_list),
            (r"/api/v1/(model|dataset)s/([^/]+/[^/]+)/repo", self._modelscope_file),
        )
        for pattern, respond in routes:
            if found := re.fullmatch(pattern, path):
                respond(query, *found.groups())
                return
        self._send_json(404, {"error": "no such route"})

    def _repository(self, kind: str, name: str) -> Repository | None:
        repository = self.hub.repositories.get((kind or "model", name))
        if repository is None:
            self._send_json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self._send_json(401, {"error": "Invalid username or password."})
            return None
        return repository

    def _folder(self, kind: str, name: str, revision: str) -> Path | None:
        repository = self._repository(kind, name)
        if repository is None:
            return None
        folder = repository.folder(revision)
        if folder is None:
            self._send_json(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
        return folder

    def _huggingface_info(self, query: dict[str, str], kind: str, name: str, revision: str | None) -> None:
        folder = self._folder(kind, name, revision or "main")
        if folder is None:
            return
        siblings = []
        for path in files_of(folder):
            sibling: dict[str, Any] = {"rfilename": path}
            if "blobs" in query:
                size = (folder / path).stat().st_size
                sibling |= {"size": size, "blobId": git_sha1_of(folder / path)}
                if path.endswith(LARGE_FILES):
                    sibling["lfs"] = {"sha256": sha256_of(folder / path), "size": size, "pointerSize": 134}
            siblings.append(sibling)
        self._send_json(200, {"id": name, "sha": commit_of(folder), "private": False, "siblings": siblings})

    def _huggingface_tree(self, query: dict[str, str], kind: str, name: str, revision: str) -> None:
        folder = self._folder(kind, name, revision)
        if folder is None:
            return
        entries = []
        for path in files_of(folder):
            size = (folder / path).stat().st_size
            entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": git_sha1_of(folder / path)}
            if path.endswith(LARGE_FILES):
                entry["lfs"] = {"oid": sha256_of(folder / path), "size": size, "pointerSize": 134}
            entries.append(entry)
        self._send_json(200, entries)

    def _huggingface_file(self, query: dict[str, str], kind: str, name: str, revision: str, path: str) -> None:
        folder = self._folder(kind, name, revision)
        if folder is None:
            return
        file = folder / path
        if path not in files_of(folder):
            self._send_json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        commit = {"X-Repo-Commit": commit_of(folder)}
        if path.endswith(LARGE_FILES):
            # Large files come from another host, to which no token may be sent.
            place = f"/large/{kind or 'model'}/{name}/{commit['X-Repo-Commit']}/{quote(path)}"
            self._send(
                302,
                b"",
                commit
                | {
                    "Location": f"http://localhost:{self.server.server_port}{place}",  # type: ignore[attr-defined]
                    "X-Linked-Size": str(file.stat().st_size),
                    "X-Linked-Etag": f'"{sha256_of(file)}"',
                },
            )
        else:
            self._send_file(file, commit | {"ETag": f'"{git_sha1_of(file)}"'})

    def _large_file(self, query: dict[str, str], kind: str, name: str, revision: str, path: str) -> None:
        folder = self.hub.repositories[kind, name].folder(revision)
        assert folder is not None
        self._send_file(folder / path, {"ETag": '"of-the-storage"'})

    def _modelscope_list(self, query: dict[str, str], kind: str, name: str) -> None:
        folder = self._folder(kind, name, query.get("Revision", "master"))
        if folder is None:
            return
        entries = [
            {
                "Path": path,
                "Name": Path(path).name,
                "Type": "blob",
                "Size": (folder / path).stat().st_size,
                "Sha256": sha256_of(folder / path),
                "Revision": commit_of(folder),
            }
            for path in files_of(folder)
        ]
        start = (int(query.get("PageNumber", "1")) - 1) * int(query.get("PageSize", "1000000"))
        page = entries[start : start + int(query.get("PageSize", "1000000"))]
        self._send_json(200, {"Code": 200, "Success": True, "Data": {"Files": page}})

    def _modelscope_file(self, query: dict[str, str], kind: str, name: str) -> None:
        folder = self._folder(kind, name, query.get("Revision", "master"))
        if folder is None:
            return
        if query["FilePath"] in files_of(folder):
            self._send_file(folder / query["FilePath"], {})
        else:
            self._send_json(404, {"Code": 10010205001, "Message": "file not found", "Success": False})

    def _send_file(self, file: Path, headers: dict[str, str]) -> None:
        content = file.read_bytes()
        if isinstance(self.action, WrongBytes):
            content = bytes(255 - byte for byte in content)
        headers = headers | {"Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, content, headers)
            return
        start = int(wanted.group(1))
        if start >= len(content):
            self._send(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
            return
        self._send(
            206, content[start:], headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        )

    def _send_json(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        match self.action:
            case Cut(after_bytes=count):
                self.wfile.write(body[:count])
            case Stall(after_bytes=int(count)):
                self.wfile.write(body[:count])
                self.wfile.flush()
                self.hub.stopping.wait()
            case Slow(seconds_per_chunk=seconds):
                for start in range(0, len(body), CHUNK_BYTES):
                    self.wfile.write(body[start : start + CHUNK_BYTES])
                    self.wfile.flush()
                    if self.hub.stopping.wait(seconds):
                        return
            case _:
                self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve folders as a model hub on this machine.")
    parser.add_argument("--port", type=int, default=8901)
    for kind in ("model", "dataset"):
        parser.add_argument(f"--{kind}", action="append", default=[], metavar="OWNER/NAME=FOLDER")
    arguments = parser.parse_args()
    with LoopbackHub(arguments.port) as hub:
        for kind in ("model", "dataset"):
            for text in getattr(arguments, kind):
                name, _, folder = text.partition("=")
                if not Path(folder).is_dir():
                    parser.error(f"{folder!r} is no folder")
                hub.add(name, Path(folder), kind=kind)
        print(f"HF_ENDPOINT={hub.endpoint} MODELSCOPE_ENDPOINT={hub.endpoint}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
