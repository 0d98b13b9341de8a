"""A hub on this machine: what the real client asks of one, over HTTP, with faults on demand."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

ZEROS = "0" * 40


class Hub(ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
        repositories: name -> {"private", "commits": {commit: {file: content}}, "main": commit}.
        fault: "truncate", "flip" or "refuse": what goes wrong with every content.
        asked: (method, path) of every request.
        tokens: what came in ``Authorization``.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict] = {}
        self.large: dict[str, bytes] = {}
        self.fault = ""
        self.asked: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""

    def add(self, name: str, files: dict[str, bytes], *, private: bool = False) -> str:
        """One more commit of a repository, on top of its files."""
        repository = self.repositories.setdefault(
            name, {"private": private, "commits": {ZEROS: {}}, "main": ZEROS}
        )
        content = {**repository["commits"][repository["main"]], **files}
        marks = [f"{path} {hashlib.sha1(data).hexdigest()}" for path, data in content.items()]
        commit = hashlib.sha1("\n".join([repository["main"], *marks]).encode()).hexdigest()
        repository["commits"][commit], repository["main"] = content, commit
        return commit


class Handler(BaseHTTPRequestHandler):
    """The API of the hub, as far as downloads, listings and commits need it."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def answer(self, code: int, content: object = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        length = headers.get("Content_Length") or str(len(body))
        if "Content_Length" not in headers:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if self.command != "HEAD" and int(length) != len(body):
            self.close_connection = True

    def handle_one(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        self.server.tokens.add(self.headers.get("Authorization"))
        for pattern, act in ROUTES:
            found = re.fullmatch(pattern, path)
            if found:
                return act(self, body, *found.groups())
        return self.answer(404, {"error": path})

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def commit_of(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self.server.repositories.get(name)
        if repository is None:
            self.answer(404, X_Error_Code="RepoNotFound")
            return None
        commit = repository["main"] if revision == "main" else revision
        if commit not in repository["commits"]:
            self.answer(404, X_Error_Code="RevisionNotFound")
            return None
        return commit, repository["commits"][commit]

    def resolve(self, _: bytes, name: str, revision: str, file: str) -> None:
        found = self.commit_of(name, revision)
        if found is None:
            return None
        commit, files = found
        if file not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        data = files[file]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        if self.command == "GET" and self.server.fault == "flip":
            data = data[:-1] + bytes([data[-1] ^ 1])
        about = {"X_Repo_Commit": commit, "ETag": etag, "Content_Length": str(len(data))}
        if self.command == "GET" and self.server.fault == "truncate":
            data = data[: len(data) // 2]
        return self.answer(200, data, **about)

    def info(self, _: bytes, name: str, revision: str | None = None) -> None:
        found = self.commit_of(name, revision or "main")
        if found is None:
            return None
        files = [{"rfilename": file} for file in found[1]]
        private = self.server.repositories[name]["private"]
        return self.answer(
            200, {"id": name, "sha": found[0], "private": private, "siblings": files}
        )

    def tree(self, _: bytes, name: str, revision: str) -> None:
        found = self.commit_of(name, revision)
        if found is None:
            return None
        return self.answer(
            200,
            [
                {"type": "file", "path": file, "size": len(data), "oid": ZEROS}
                for file, data in found[1].items()
            ],
        )

    def create(self, body: bytes) -> None:
        if self.server.fault == "refuse":
            return self.answer(403, {"error": "this token may not write"})
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        private = asked.get("private") or asked.get("visibility") == "private"
        url = {"url": f"{self.server.url}/{name}"}
        if name in self.server.repositories:
            return self.answer(409, {"error": "it is there", **url})
        self.server.add(name, {}, private=private)
        return self.answer(200, url)

    def preupload(self, body: bytes, _: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return self.answer(200, {"files": files})

    def batch(self, body: bytes, _: str) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.url}/large/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.large[oid] = body
        return self.answer(200)

    def commit(self, body: bytes, name: str) -> None:
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        oid = self.server.add(name, files)
        url = f"{self.server.url}/{name}/commit/{oid}"
        return self.answer(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def valid(self, _: bytes) -> None:
        return self.answer(200, {"errors": [], "warnings": []})


NAME = "([^/]+/[^/]+)"
ROUTES = (
    (f"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    (f"/api/models/{NAME}", Handler.info),
    (f"/api/models/{NAME}/revision/(.+)", Handler.info),
    (f"/api/models/{NAME}/tree/([^/]+)", Handler.tree),
    (f"/api/models/{NAME}/preupload/main", Handler.preupload),
    (f"/api/models/{NAME}/commit/main", Handler.commit),
    (f"/{NAME}.git/info/lfs/objects/batch", Handler.batch),
    ("/large/([0-9a-f]+)", Handler.store),
    ("/api/repos/create", Handler.create),
    ("/api/validate-yaml", Handler.valid),
)
