"""A server that speaks the hub's protocol: model info, revisions, files, making repositories, commits, large files.

Written after what `huggingface_hub` asks for and expects. Everything is kept in memory.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

OWNER, READER = "hf_owner", "hf_reader"  # tokens: may do everything, may read everything


@dataclass
class Repo:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{branch} {len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha

    def resolve(self, revision: str) -> str | None:
        sha = self.branches.get(revision, revision)
        return sha if sha in self.commits else None


class FakeHub(ThreadingHTTPServer):
    """The server; use as a context.

    Attributes:
        repos: by `owner/name`.
        requests: what was asked, `METHOD path`.
        large: suffix of the files that go by LFS, and come back over a redirect.
        cut: path of a file -> bytes after which its download ends.
        failure: HTTP status that answers everything.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.large: str | None = None
        self.cut: dict[str, int] = {}
        self.failure: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def storage(self) -> str:
        """Where large files are: another host, that must not get the token."""
        return f"http://localhost:{self.server_port}"

    def add(self, name: str, files: dict[str, bytes], private: bool = False) -> str:
        """A repository with one commit on main; its hash."""
        self.repos[name] = Repo(private)
        return self.repos[name].commit("main", files)

    def __enter__(self) -> "FakeHub":
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or a download that is cut on purpose, is no news."""


class Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.0"  # a connection per request, so that none is left open

    def log_message(self, format: str, *args: Any) -> None:
        self.server.requests.append(f"{self.command} {self.path}")

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        self.body = self._read_body()
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.reads, self.writes = token in (OWNER, READER), token == OWNER
        if self.server.failure is not None:
            self._send(self.server.failure, {"error": "on purpose"})
        elif parts[:3] == ["api", "repos", "create"]:
            self._create()
        elif parts[:2] == ["api", "validate-yaml"]:
            self._send(200, {"errors": [], "warnings": []})
        elif parts[:2] == ["api", "models"]:
            self._model("/".join(parts[2:4]), parts[4:])
        elif parts[0] == "lfs":
            assert not token
            self._object(parts[1])
        elif parts[2:] == ["info", "lfs", "objects", "batch"]:
            self._batch()
        elif parts[2:3] == ["resolve"]:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._send(404, {"error": f"no route {self.path}"})

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = [b""]
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self.writes:
            self._send(403 if self.reads else 401, {"error": "no write access"})
        elif name in self.server.repos:
            self._send(409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"})
        else:
            private = asked.get("visibility") == "private" or asked.get("private", False)
            self.server.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
            self._send(200, {"url": f"{self.server.url}/{name}", "name": name})

    def _model(self, name: str, rest: list[str]) -> None:
        if (repo := self._repo(name)) is None:
            return
        if not rest or rest[0] == "revision":
            if sha := self._commit(repo, rest[1] if rest else "main"):
                siblings = [{"rfilename": path} for path in repo.commits[sha]]
                self._send(200, {"id": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []})
        elif not self.writes:
            self._send(403, {"error": "no write access"}, {"X-Error-Message": "no write access"})
        elif rest[0] == "branch":
            taken = rest[1] in repo.branches
            if not taken:
                repo.branches[rest[1]] = repo.branches["main"]
            self._send(409 if taken else 200, {"error": "Reference already exists"} if taken else {})
        elif rest[0] == "preupload":
            files = []
            for file in json.loads(self.body)["files"]:
                mode = "lfs" if self.server.large and file["path"].endswith(self.server.large) else "regular"
                files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
            self._send(200, {"files": files})
        elif rest[0] == "commit" and (parent := self._commit(repo, rest[1])):
            self._take_commit(name, repo, rest[1], parent)

    def _take_commit(self, name: str, repo: Repo, branch: str, parent: str) -> None:
        files = dict(repo.commits[parent])
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit", parent) != parent:
                return self._send(412, {"error": "A commit has happened since"})
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(branch, files)
        return self._send(200, {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha})

    def _batch(self) -> None:
        objects = [
            {**asked, "actions": {"upload": {"href": f"{self.server.storage}/lfs/{asked['oid']}"}}}
            for asked in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _object(self, oid: str) -> None:
        if self.command == "PUT":
            assert hashlib.sha256(self.body).hexdigest() == oid
            self.server.objects[oid] = self.body
            self._send(200, {})
        else:
            self._content(self.server.objects[oid], {})

    def _file(self, name: str, revision: str, path: str) -> None:
        if (repo := self._repo(name)) is None or not (sha := self._commit(repo, revision)):
            return
        if (content := repo.commits[sha].get(path)) is None:
            self._send(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        oid = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": sha, "ETag": f'"{oid}"'}
        if self.server.large and path.endswith(self.server.large):
            self.server.objects[oid] = content
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
            self._send(302, {}, {**headers, **linked, "Location": f"{self.server.storage}/lfs/{oid}"})
        else:
            self._content(content, headers, self.server.cut.get(path))

    def _content(self, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
            self.close_connection = cut is not None

    def _repo(self, name: str) -> Repo | None:
        repo = self.server.repos.get(name)
        if repo is not None and (self.reads or not repo.private):
            return repo
        if self.reads:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        else:
            self._send(401, {"error": "Invalid username or password."})
        return None

    def _commit(self, repo: Repo, revision: str) -> str | None:
        sha = repo.resolve(revision)
        if sha is None:
            self._send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return sha

    def _send(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
