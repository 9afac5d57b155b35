"""Servers that send too much, too little or something else, and manifests that lead astray."""

import hashlib
import http.server
import json
import os
import threading
import time

import pytest

from helm_ase.checkpoint import registry, resolve, save_checkpoint
from helm_ase.checkpoint.download import download, remove_leftovers
from helm_ase.checkpoint.manifest import read_manifest
from helm_ase.errors import CheckpointError
from shared.bounded_process import readable
from shared.small_checkpoints import tiny_checkpoint

pytestmark = [  # pooch leaves the connection of a download that was given up to the collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
GOOD = os.urandom(5000)
CHECKSUM = hashlib.sha256(GOOD).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the case says."""

    def do_GET(self):
        self.server.answer(self)
        self.close_connection = True

    def log_message(self, *_):
        pass


def sends(body, length=None, status=200):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def without_end(handler):
    """Sends until nobody listens any more."""
    handler.send_response(200)
    handler.end_headers()
    handler.server.sent = 0
    try:
        while handler.server.sent < 2**30:
            handler.server.sent += handler.wfile.write(bytes(2**16))
    except OSError:
        return


def in_circles(handler):
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


def to_a_file(handler):
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/passwd")
    handler.end_headers()


SERVERS = {
    "more bytes than announced in the manifest": (sends(GOOD + bytes(10**6)), "more than the 5000 bytes"),
    "bytes without end": (without_end, "more than the 5000 bytes"),
    "a length of 10^15 and few bytes": (sends(GOOD[:100], 10**15), "cannot fetch"),
    "half of the file": (sends(GOOD[:2500], 5000), "cannot fetch"),
    "other bytes of the same length": (sends(bytes(5000)), "checksum"),
    "nothing": (sends(b""), "checksum"),
    "a page of errors": (sends(b"<html>not found</html>", status=404), "404"),
    "an error of its own": (sends(b"", status=500), "500"),
    "redirects in circles": (in_circles, "redirect"),
    "a redirect to a local file": (to_a_file, "cannot fetch"),
    "a page with status 200": (sends(b"<html>log in first</html>"), "checksum"),
}


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}/model.safetensors"
        yield httpd
        httpd.shutdown()


def test_what_is_as_announced_is_kept(server, tmp_path):
    server.answer = sends(GOOD)
    download(server.url, tmp_path / "new" / "x", CHECKSUM, 5000)
    assert (tmp_path / "new" / "x").read_bytes() == GOOD


@pytest.mark.parametrize("name", SERVERS)
def test_a_download_is_what_was_announced_or_nothing(name, server, tmp_path):
    server.answer, words = SERVERS[name]
    target = tmp_path / "x"
    target.write_bytes(b"older")
    with pytest.raises(CheckpointError, match=words) as refused:
        download(server.url, target, CHECKSUM, 5000)
    readable(str(refused.value))
    assert target.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["x"]
    assert getattr(server, "sent", 0) < 2**28


def test_parts_left_by_killed_downloads_are_removed_and_growing_ones_are_not(tmp_path):
    for name in (".x.1-ab.partial", "tmpabc", ".y.2-cd.partial", "model.safetensors"):
        (tmp_path / name).write_bytes(b"part")
    old = time.time() - 7200
    for name in (".x.1-ab.partial", "tmpabc", "model.safetensors"):
        os.utime(tmp_path / name, (old, old))
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".y.2-cd.partial", "model.safetensors"]


ENTRY = {"file": "a.safetensors", "url": "a.safetensors", "sha256": "0" * 64, "size": 10, "embedded": True}
MANIFESTS = {
    "no JSON": "{",
    "nothing": "",
    "a list": "[]",
    "nested": "[" * 100000,
    "no models": {"default": "a"},
    "models that are a list": {"default": "a", "models": []},
    "a default that is none": {"default": "b", "models": {"a": ENTRY}},
    "a file in another folder": {"default": "a", "models": {"a": ENTRY | {"file": "../../x.safetensors"}}},
    "a file anywhere": {"default": "a", "models": {"a": ENTRY | {"file": "/etc/passwd"}}},
    "a hidden file": {"default": "a", "models": {"a": ENTRY | {"file": ".bashrc"}}},
    "a name with a folder": {"default": "x/a", "models": {"x/a": ENTRY}},
    "a name with escapes": {"default": "\x1b[2J", "models": {"\x1b[2J": ENTRY}},
    "a checksum of five digits": {"default": "a", "models": {"a": ENTRY | {"sha256": "12345"}}},
    "no checksum": {"default": "a", "models": {"a": ENTRY | {"sha256": ""}}},
    "a negative size": {"default": "a", "models": {"a": ENTRY | {"size": -1}}},
    "a size in words": {"default": "a", "models": {"a": ENTRY | {"size": "10"}}},
    "a size that is true": {"default": "a", "models": {"a": ENTRY | {"size": True}}},
    "an address of a file": {"default": "a", "models": {"a": ENTRY | {"url": "file:///etc/passwd"}}},
    "an address of another kind": {"default": "a", "models": {"a": ENTRY | {"url": "ftp://x/a"}}},
    "an entry that is a text": {"default": "a", "models": {"a": "a.safetensors"}},
    "an entry with more": {"default": "a", "models": {"a": ENTRY | {"run": "rm"}}},
    "an entry with less": {"default": "a", "models": {"a": {"file": "a"}}},
    "embedded in words": {"default": "a", "models": {"a": ENTRY | {"embedded": "no"}}},
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_damaged_is_refused(name, tmp_path):
    given = MANIFESTS[name]
    (tmp_path / "manifest.json").write_text(given if isinstance(given, str) else json.dumps(given))
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged") as refused:
        read_manifest(tmp_path / "manifest.json")
    readable(str(refused.value))


def test_the_manifest_that_is_shipped_is_good():
    assert read_manifest(registry.checkpoint_folder() / "manifest.json").models


ADDRESSES = {
    "no checksum": "https://127.0.0.1:1/x.safetensors",
    "a checksum that is none": "https://127.0.0.1:1/x.safetensors#sha256=zz",
    "a checksum of another kind": "https://127.0.0.1:1/x.safetensors#sha256=" + "0" * 32,
    "a checksum with a path": "https://127.0.0.1:1/x.safetensors#sha256=../../x",
    "another scheme": "ftp://127.0.0.1/x.safetensors",
    "a file": "file:///etc/passwd",
    "NUL": "a\0b",
    "a folder": "/",
    "a device": "/dev/zero",
    "the empty name": "",
    "a very long name": "x" * 5000,
    "escapes": "\x1b[2J",
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_what_names_no_model_is_refused_without_a_network(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HELM_CACHE_DIR", str(tmp_path))
    with pytest.raises(CheckpointError) as refused:
        resolve(ADDRESSES[name])
    readable(str(refused.value))
    assert os.listdir(tmp_path) == []


def test_a_good_file_is_found_by_its_path(tmp_path):
    save_checkpoint(tiny_checkpoint(), tmp_path / "a.safetensors")
    assert resolve(tmp_path / "a.safetensors") == tmp_path / "a.safetensors"


CASES = [*SERVERS, *(f"manifest: {m}" for m in MANIFESTS), *(f"address: {a}" for a in ADDRESSES)]
