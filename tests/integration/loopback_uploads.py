"""What the hub on this machine answers to uploads: repositories are made, large files put, commits written to disk."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any


class Uploads:
    """Repositories that clients may make and write to, below a folder.

    Args:
        folder: Where they go: OWNER/NAME.
        token: Who does not send it is refused.
        endpoint: The hub's address.
    """

    def __init__(self, folder: Path, token: str, endpoint: str) -> None:
        self.folder = folder
        self.token = token
        self.endpoint = endpoint
        self.private: dict[str, bool] = {}
        self.licenses: dict[str, str] = {}
        self.messages: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.received_bytes = 0

    def answer(self, method: str, path: str, body: bytes, authorization: str | None) -> tuple[int, Any] | None:
        """Returns status and content, or None for requests that are not about uploads."""
        routes: tuple[tuple[str, str, Callable[..., tuple[int, Any]]], ...] = (
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", lambda content: (200, {"errors": [], "warnings": []})),
            ("POST", r"/api/models/([^/]+/[^/]+)/preupload/main", self._preupload),
            ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._huggingface_batch),
            ("POST", r"/api/models/([^/]+/[^/]+)/commit/main", self._huggingface_commit),
            ("GET", r"/openapi/v1/models/([^/]+/[^/]+)", self._modelscope_info),
            ("GET", r"/api/v1/models/([^/]+/[^/]+)", self._modelscope_info),
            ("POST", r"/api/v1/models", self._modelscope_create),
            ("POST", r"/api/v1/repos/models/([^/]+/[^/]+)/info/lfs/objects/batch", self._modelscope_batch),
            ("PUT", r"/put/(\w+)", self._put),
            ("POST", r"/api/v1/repos/models/([^/]+/[^/]+)/commit/master", self._modelscope_commit),
        )
        for expected, pattern, handle in routes:
            found = re.fullmatch(pattern, path)
            if method == expected and found:
                # The address of a large file is enough; it would be signed.
                if handle != self._put and authorization != f"Bearer {self.token}":
                    return 401, {"error": "Invalid username or password.", "Code": 401, "Message": "no such token"}
                return handle(body, *found.groups())
        return None

    def files(self, name: str) -> dict[str, bytes]:
        """Returns the content of a repository by path."""
        root = self.folder / name
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def _create(self, body: bytes) -> tuple[int, Any]:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.private:
            return 409, {"error": "You already created this model repo", "url": f"{self.endpoint}/{name}"}
        self.private[name] = wanted.get("visibility") == "private" or wanted.get("private") is True
        return 200, {"url": f"{self.endpoint}/{name}"}

    def _preupload(self, body: bytes, name: str) -> tuple[int, Any]:
        files = json.loads(body)["files"]
        modes = {True: "lfs", False: "regular"}
        found = [
            {
                "path": file["path"],
                "uploadMode": modes[file["path"].endswith(".safetensors")],
                "shouldIgnore": False,
                "oid": None,
            }
            for file in files
        ]
        return 200, {"files": found}

    def _huggingface_batch(self, body: bytes, name: str) -> tuple[int, Any]:
        objects = []
        for wanted in json.loads(body)["objects"]:
            answer: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.objects:
                answer["actions"] = {"upload": {"href": f"{self.endpoint}/put/{wanted['oid']}"}}
            objects.append(answer)
        return 200, {"transfer": "basic", "objects": objects}

    def _put(self, body: bytes, oid: str) -> tuple[int, Any]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "these are other bytes"}
        self.objects[oid] = body
        self.received_bytes += len(body)
        return 200, {}

    def _huggingface_commit(self, body: bytes, name: str) -> tuple[int, Any]:
        if name not in self.private:
            return 404, {"error": "Repository not found"}
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.messages.append(value["summary"])
            elif entry["key"] == "file":
                self._write(name, value["path"], base64.b64decode(value["content"]))
            else:
                assert entry["key"] == "lfsFile"
                self._write(name, value["path"], self.objects[value["oid"]])
        return 200, {"commitUrl": f"{self.endpoint}/{name}/commit/1", "commitOid": "1" * 40}

    def _modelscope_info(self, body: bytes, name: str) -> tuple[int, Any]:
        if name not in self.private:
            return 404, {"Code": 10010205001, "Message": "model not found", "Success": False}
        owner, _, short = name.partition("/")
        return 200, {"Code": 200, "Success": True, "Data": {"Path": owner, "Name": short, "Id": 1}}

    def _modelscope_create(self, body: bytes) -> tuple[int, Any]:
        wanted = json.loads(body)
        name = f"{wanted['Path']}/{wanted['Name']}"
        if name in self.private:
            return 400, {"Code": 10010101003, "Message": "The model already exists.", "Success": False}
        self.private[name], self.licenses[name] = wanted["Visibility"] == 1, wanted["License"]
        return 200, {"Code": 200, "Success": True, "Data": {"Path": wanted["Path"], "Name": wanted["Name"]}}

    def _modelscope_batch(self, body: bytes, name: str) -> tuple[int, Any]:
        status, content = self._huggingface_batch(body, name)
        return status, {"Code": 200, "Success": True, "Data": content}

    def _modelscope_commit(self, body: bytes, name: str) -> tuple[int, Any]:
        wanted = json.loads(body)
        self.messages.append(wanted["commit_message"])
        for action in wanted["actions"]:
            content = base64.b64decode(action["content"]) if action["type"] == "normal" else None
            self._write(name, action["path"], self.objects[action["sha256"]] if content is None else content)
        return 200, {"Code": 200, "Success": True, "Data": {"Oid": "1" * 40}}

    def _write(self, name: str, path: str, content: bytes) -> None:
        assert not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
        target = self.folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
