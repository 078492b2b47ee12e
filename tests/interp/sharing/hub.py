"""A small server that speaks what the Hub's client asks for: repositories, commits, large files."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_this_test"
LARGE = (".safetensors", ".npz")  # what the Hub stores as large files

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits by hash, each all of its files, and the commit of each branch."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        text = json.dumps([len(self.commits), branch, sorted(files)]).encode()
        oid = hashlib.sha1(text).hexdigest()  # as git does
        self.commits[oid], self.branches[branch] = dict(files), oid
        return oid

    def files(self, revision: str = "main") -> Files | None:
        return self.commits.get(self.branches.get(revision, revision))


@dataclass
class Hub:
    """The server's state."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)

    def make(self, name: str, files: Files, **options: Any) -> Repository:
        self.repositories[name] = Repository(**options)
        self.repositories[name].commit({".gitattributes": b""} | files)
        return self.repositories[name]


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "", message: str = "", url: str = "") -> None:
        self.status, self.code, self.message, self.url = status, code, message, url


class Handler(BaseHTTPRequestHandler):
    """Answers one request; `hub` is set by the server."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, respond: Any) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        try:
            content, headers = respond(parts)
            status = 200
        except RefusedError as refused:
            about = {"error": refused.message, "url": refused.url}
            content, headers = json.dumps(about).encode(), {}
            headers |= {"X-Error-Code": refused.code} if refused.code else {}
            headers |= {"X-Error-Message": refused.message} if refused.message else {}
            status = refused.status
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, name: str) -> Repository:
        found = self.hub.repositories.get(name)
        if found is None or (found.private and not self._is_known()):
            raise RefusedError(401, "RepoNotFound", "Repository not found")
        return found

    def _writable(self, name: str) -> Repository:
        if not self._is_known():
            raise RefusedError(403, message="You may not write here")
        return self._repository(name)

    @staticmethod
    def _files(repository: Repository, revision: str) -> Files:
        files = repository.files(revision)
        if files is None:
            raise RefusedError(404, "RevisionNotFound", "Invalid rev id")
        return files

    def _get(self, parts: list[str]) -> tuple[bytes, dict[str, str]]:
        match parts:
            case ["api", "models", owner, name]:
                return self._info(f"{owner}/{name}", "main")
            case ["api", "models", owner, name, "revision", *revision]:
                return self._info(f"{owner}/{name}", "/".join(revision))
            case ["api", "models", owner, name, "tree", *revision]:
                files = self._files(self._repository(f"{owner}/{name}"), "/".join(revision))
                return json.dumps([_entry(path, files[path]) for path in files]).encode(), {}
            case [owner, name, "resolve", revision, *path]:
                return self._file(self._repository(f"{owner}/{name}"), revision, "/".join(path))
        raise RefusedError(404)

    def _info(self, name: str, revision: str) -> tuple[bytes, dict[str, str]]:
        repository = self._repository(name)
        files = self._files(repository, revision)
        about = {
            "id": name,
            "sha": repository.branches.get(revision, revision),
            "private": repository.private,
            "siblings": [{"rfilename": path} for path in files],
        }
        return json.dumps(about).encode(), {}

    def _file(
        self, repository: Repository, revision: str, path: str
    ) -> tuple[bytes, dict[str, str]]:
        if repository.gated:
            raise RefusedError(403, "GatedRepo", "Ask first")
        files = self._files(repository, revision)
        headers = {"X-Repo-Commit": repository.branches.get(revision, revision)}
        if path not in files:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        return files[path], headers | {"ETag": f'"{_etag(path, files[path])}"'}

    def _put(self, parts: list[str]) -> tuple[bytes, dict[str, str]]:
        assert parts[0] == "large"
        assert hashlib.sha256(self.body).hexdigest() == parts[1]
        self.hub.large[parts[1]] = self.body
        return b"", {}

    def _post(self, parts: list[str]) -> tuple[bytes, dict[str, str]]:
        lines = [json.loads(line) for line in self.body.splitlines()]
        match parts:
            case ["api", "validate-yaml"]:
                return b'{"errors": [], "warnings": []}', {}
            case ["api", "repos", "create"]:
                return self._create(lines[0])
            case ["api", "models", owner, name, "branch", *branch]:
                return self._branch(self._writable(f"{owner}/{name}"), "/".join(branch))
            case ["api", "models", owner, name, "preupload", _]:
                self._writable(f"{owner}/{name}")
                return _modes(lines[0]["files"])
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self._writable(f"{owner}/{name.removesuffix('.git')}")
                return self._batch(lines[0]["objects"])
            case ["api", "models", owner, name, "commit", *branch]:
                repository = self._writable(f"{owner}/{name}")
                oid = self._commit(repository, lines, "/".join(branch))
                url = f"{self.hub.url}/{owner}/{name}/commit/{oid}"
                return json.dumps({"commitOid": oid, "commitUrl": url}).encode(), {}
        raise RefusedError(404)

    def _create(self, wanted: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        if not self._is_known():
            raise RefusedError(401, message="Invalid username or password.")
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            url = f"{self.hub.url}/{name}"
            raise RefusedError(409, message="You already created this model repo", url=url)
        private = wanted.get("private") is True or wanted.get("visibility") == "private"
        self.hub.make(name, {}, private=private)
        return json.dumps({"url": f"{self.hub.url}/{name}"}).encode(), {}

    def _branch(self, repository: Repository, branch: str) -> tuple[bytes, dict[str, str]]:
        if branch in repository.branches:
            raise RefusedError(409, message="Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        return b"{}", {}

    def _batch(self, objects: list[dict[str, Any]]) -> tuple[bytes, dict[str, str]]:
        answers = [
            {"oid": wanted["oid"], "size": wanted["size"]}
            | (
                {}
                if wanted["oid"] in self.hub.large
                else {"actions": {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}"}}}
            )
            for wanted in objects
        ]
        return json.dumps({"transfer": "basic", "objects": answers}).encode(), {}

    def _commit(self, repository: Repository, lines: list[dict[str, Any]], branch: str) -> str:
        files = dict(self._files(repository, branch))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        return repository.commit(files, branch)


def _etag(path: str, content: bytes) -> str:
    """The name of a file's content: git's own, or of a large file its SHA-256."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    large = {"lfs": {"oid": _etag(path, content), "size": len(content), "pointerSize": 134}}
    entry = {"type": "file", "path": path, "size": len(content), "oid": _etag(path, content)}
    return entry | (large if path.endswith(LARGE) else {})


def _modes(files: list[dict[str, Any]]) -> tuple[bytes, dict[str, str]]:
    modes = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
            "shouldIgnore": False,
        }
        for file in files
    ]
    return json.dumps({"files": modes}).encode(), {}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A server on this machine, with nothing in it."""
    hub = Hub()
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
