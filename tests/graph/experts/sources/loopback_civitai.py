"""A server on loopback that speaks Civitai's REST interface, with a storage host beside it, and misbehaves as told."""

from __future__ import annotations

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ENUMS = {
    "ModelType": ["Checkpoint", "TextualInversion", "LORA", "LoCon", "DoRA", "Workflows"],
    "BaseModel": ["SD 1.5", "SDXL 1.0", "Pony", "Illustrious", "Flux.1 D", "Wan Video"],
}


def model(identity: int, data: bytes, **changes: Any) -> dict[str, Any]:
    """A model with one version, in the shape of ``/api/v1/models/ID``; ``version`` and ``file`` change these."""
    version, file = changes.pop("version", {}), changes.pop("file", {})
    sha = hashlib.sha256(data).hexdigest().upper()
    payload = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest().upper()
    number = identity * 10
    about = {
        "id": number + 5, "sizeKB": round(len(data) / 1024), "name": f"lora_{identity}.safetensors", "type": "Model",
        "pickleScanResult": "Success", "virusScanResult": "Success", "primary": True,
        "metadata": {"fp": "fp16", "size": None, "format": "SafeTensor"},
        "hashes": {"AutoV1": "AAAAAAAA", "AutoV2": sha[:10], "SHA256": sha, "AutoV3": payload[:12], "CRC32": "0"},
        "downloadUrl": f"https://civitai.com/api/download/models/{number}?type=Model&format=SafeTensor&token=x", **file,
    }  # fmt: skip
    made = {
        "id": number, "index": 0, "name": "v1.0", "baseModel": "SD 1.5", "publishedAt": "2024-05-06T01:02:03.000Z",
        "availability": "Public", "trainedWords": ["pixfox, pixel art"], "stats": {"downloadCount": 21},
        "files": [about], "images": [{"url": "https://x/y.jpeg", "nsfwLevel": 1, "hasMeta": True}],
        "air": f"urn:air:sd1:lora:civitai:{identity}@{number}", **version,
    }  # fmt: skip
    return {
        "id": identity, "name": f"Pixel Fox {identity}", "description": "<p>A fox, in pixels.</p>", "type": "LORA",
        "nsfw": False, "nsfwLevel": 1, "poi": False, "tags": ["animal", "style"], "creator": {"username": "ana"},
        "allowNoCredit": False, "allowCommercialUse": ["Image"], "allowDerivatives": True,
        "allowDifferentLicense": True, "stats": {"downloadCount": 1234, "thumbsUpCount": 9}, "mode": None,
        "modelVersions": [made], **changes,
    }  # fmt: skip


class Storage(ThreadingHTTPServer):
    """Where files lie, behind signed addresses that are good once."""

    daemon_threads = True

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that has read enough hangs up: that is no error of the server's."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StorageHandler)
        self.files: dict[str, bytes] = {}
        self.signed: set[str] = set()
        self.tokens: set[str] = set()
        self.cut_after: int | None = None
        self.ranges: list[str] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_address[1]}"


class _StorageHandler(BaseHTTPRequestHandler):
    server: Storage
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        storage, parts = self.server, urlsplit(self.path)
        storage.tokens.update(self.headers.get_all("Authorization", []))
        signature = parts.query
        data = storage.files.get(parts.path.strip("/"))
        if signature not in storage.signed or data is None:
            return self._send(403, b"expired", {})
        storage.signed.discard(signature)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", ""))
        storage.ranges.append(self.headers.get("Range", ""))
        if not wanted:
            return self._send(200, data, {})
        start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        if start >= len(data):
            return self._send(416, b"", {})
        return self._send(206, data[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(data)}"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(body if cut is None else body[:cut])
        self.server.sent += len(body)
        self.close_connection = cut is not None


class Civitai(ThreadingHTTPServer):
    """Models by id, and their files.

    Attributes:
        status: path -> the whole answer (status, headers, body); once: the same, as often as it is listed there.
        bodies: path -> the body of a good answer. empty_pages: so many pages of the list come empty first.
        repeats: whether a page begins with the last model of the page before. images: version -> pictures.
        hidden: models that are found by no id. tokens: Authorization headers that came.
    """

    daemon_threads = True

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that has read enough hangs up: that is no error of the server's."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.storage = storage
        self.models: dict[int, dict[str, Any]] = {}
        self.status: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.once: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.bodies: dict[str, bytes] = {}
        self.images: dict[int, list[dict[str, Any]]] = {}
        self.hidden: set[int] = set()
        self.empty_pages = 0
        self.repeats = False
        self.page = 20
        self.tokens: set[str] = set()
        self.log: list[str] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, identity: int, data: bytes, **changes: Any) -> None:
        """A model, its file in the storage."""
        self.models[identity] = model(identity, data, **changes)
        self.storage.files[str(identity * 10)] = data

    def asked(self) -> list[str]:
        """Requests since this was last called."""
        lines = list(self.log)
        self.log.clear()
        return lines


class _Handler(BaseHTTPRequestHandler):
    server: Civitai
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_POST(self) -> None:
        self._route(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_GET(self) -> None:
        self._route(None)

    def _route(self, posted: Any) -> None:
        hub, parts = self.server, urlsplit(self.path)
        hub.log.append(f"{self.command} {self.path}")
        hub.tokens.update(self.headers.get_all("Authorization", []))
        for path, answers in hub.once.items():
            if parts.path.startswith(path) and answers:
                return self._send(*answers.pop(0))
        for path, answer in hub.status.items():
            if parts.path.startswith(path):
                return self._send(*answer)
        if parts.path in hub.bodies:
            return self._send(200, {}, hub.bodies[parts.path])
        query = parse_qs(parts.query)
        if parts.path == "/api/v1/enums":
            return self._json(ENUMS)
        if parts.path == "/api/v1/models":
            return self._list(query)
        if parts.path == "/api/v1/images":
            return self._json({"items": hub.images.get(int(query["modelVersionId"][0]), []), "metadata": {}})
        if parts.path == "/api/v1/model-versions/by-hash":
            return self._json([self._version(m) for m in hub.models.values() if self._sums(m) & {*posted}])
        if found := re.fullmatch(r"/api/v1/model-versions/by-hash/(\w+)", parts.path):
            versions = (m for m in hub.models.values() if found[1].upper() in self._sums(m))
            return self._one(next((self._version(m) for m in versions), None))
        if found := re.fullmatch(r"/api/v1/models/(\d+)", parts.path):
            identity = int(found[1])
            return self._one(None if identity in hub.hidden else hub.models.get(identity))
        if found := re.fullmatch(r"/api/v1/model-versions/(\d+)", parts.path):
            wanted = hub.models.get(int(found[1]) // 10)
            return self._one(self._version(wanted) if wanted else None)
        if found := re.fullmatch(r"/api/download/models/(\d+)", parts.path):
            signature = f"X-Signature={len(hub.log)}"
            hub.storage.signed.add(signature)
            return self._send(307, {"Location": f"{hub.storage.url}/{found[1]}?{signature}"}, b"")
        return self._send(404, {}, b'{"error": "Not found"}')

    def _list(self, query: dict[str, list[str]]) -> None:
        hub = self.server
        rows = list(hub.models.values())
        if wanted := query.get("query"):
            rows = [m for m in rows if wanted[0].casefold() in m["name"].casefold()]
        rows = [m for m in rows if m["type"] in query.get("types", [m["type"]])]
        if query.get("nsfw", ["false"])[0] != "true":
            rows = [m for m in rows if m["nsfwLevel"] & 1]
        start = int(query.get("cursor", ["0"])[0])
        if start < 0 or hub.empty_pages:
            hub.empty_pages -= 1
            cursor = f"-{hub.empty_pages + 1}" if hub.empty_pages else "0"
            return self._json({"items": [], "metadata": {"nextCursor": cursor}})
        page = rows[max(start - (1 if hub.repeats else 0), 0) : start + hub.page]
        bases = query.get("baseModels")
        if bases:
            page = [m for m in page if any(v["baseModel"] in bases for v in m["modelVersions"])]
        following = {"nextCursor": start + hub.page} if start + hub.page < len(rows) else {}
        return self._json({"items": page, "metadata": following})

    @staticmethod
    def _sums(found: dict[str, Any]) -> set[str]:
        files = [f for v in found["modelVersions"] for f in v["files"]]
        return {value for file in files for value in file["hashes"].values()}

    @staticmethod
    def _version(found: dict[str, Any]) -> dict[str, Any]:
        about = {name: found[name] for name in ("name", "type", "nsfw", "poi")}
        return {**found["modelVersions"][0], "modelId": found["id"], "model": about}

    def _one(self, found: Any) -> None:
        return self._json(found) if found is not None else self._send(404, {}, b'{"error": "No model with id"}')

    def _json(self, value: Any) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.server.sent += len(body)
