"""From a name to a verified file: embedded, downloaded, cached, damaged, offline."""

import functools
import hashlib
import http.server
import json
import threading

import pytest
import torch
from ase.build import molecule

from helm_ase import HELMCalculator, predict_many
from helm_ase.checkpoint import (
    default_model,
    knowledge_at_hand,
    list_models,
    load_model,
    read_header,
    registry,
    resolve,
    save_checkpoint,
)
from helm_ase.errors import ChargeError, CheckpointError, ElementError
from shared.small_checkpoints import tiny_checkpoint as tiny


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, counts requests and cuts a file short when told to."""

    def do_GET(self):
        self.server.requested.append(self.path)
        if not self.server.cut:
            return super().do_GET()
        data = self.server.cut
        self.send_response(200)
        self.send_header("Content-Length", str(2 * len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server on this machine, offering ``remote.safetensors``."""
    folder = tmp_path / "server"
    folder.mkdir()
    save_checkpoint(tiny(), folder / "remote.safetensors")
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.requested, httpd.cut, httpd.folder = [], b"", folder
        httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield httpd
        httpd.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch, server):
    """An empty cache, and a manifest with one model to embed and one to download."""
    remote = (server.folder / "remote.safetensors").read_bytes()
    packaged, cached = tmp_path / "packaged", tmp_path / "cache"
    packaged.mkdir()
    save_checkpoint(tiny(seed=2), packaged / "inside.safetensors")
    inside = (packaged / "inside.safetensors").read_bytes()

    def entry(file, data, embedded):
        digest = hashlib.sha256(data).hexdigest()
        return {"file": file, "url": file, "sha256": digest, "size": len(data), "embedded": embedded}

    models = {
        "tiny-inside": entry("inside.safetensors", inside, True),
        "tiny-remote": entry("remote.safetensors", remote, False),
    }
    (packaged / "manifest.json").write_text(json.dumps({"default": "tiny-inside", "models": models}))
    monkeypatch.setattr(registry, "checkpoint_folder", lambda: packaged)
    monkeypatch.setenv("HELM_CACHE_DIR", str(cached))
    monkeypatch.setenv("HELM_WEIGHTS_URL", server.url)
    monkeypatch.delenv("HELM_OFFLINE", raising=False)
    return cached


def files(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- the manifest that is shipped ------------------------------------------------------------------------


def test_every_embedded_file_has_the_size_and_checksum_of_the_manifest():
    assert default_model() in list_models()
    embedded = [entry for entry in list_models().values() if entry.embedded]
    assert embedded
    for entry in embedded:
        path = registry.checkpoint_folder() / entry.file
        assert path.stat().st_size == entry.size
        assert digest(path) == entry.sha256
        assert load_model(entry.name).name == entry.name


def test_the_default_model_needs_neither_network_nor_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HELM_OFFLINE", "1")
    monkeypatch.setenv("HELM_CACHE_DIR", str(tmp_path / "never"))
    assert load_model().sha256 == list_models()[default_model()].sha256
    assert not (tmp_path / "never").exists()


def test_what_models_at_hand_know_is_what_their_checkpoints_say():
    found = knowledge_at_hand()
    assert {"helm-hcnof-2", "helm-organic-1"} <= set(found)
    for name in ("helm-hcnof-2", "helm-organic-1"):
        assert found[name] == load_model(name).knows


def test_a_damaged_file_or_manifest_leaves_advice_out_and_the_error_stands(monkeypatch):
    def broken(path):
        raise PermissionError(path)

    registry._knowledge.cache_clear()
    monkeypatch.setattr(
        registry, "read_header", lambda path: broken(path) if "hcnof-1" in path else read_header(path)
    )
    assert "helm-hcnof-1" not in knowledge_at_hand()
    assert {"helm-hcnof-2", "helm-organic-1"} <= set(knowledge_at_hand())
    registry._knowledge.cache_clear()
    monkeypatch.setattr(registry, "read_header", broken)
    assert knowledge_at_hand() == {}
    with pytest.raises(ElementError, match="No model of this installation knows"):
        molecule("LiH").calc = HELMCalculator("helm-hcnof-2")


@pytest.mark.parametrize(
    ("name", "info", "error", "advice"),
    [
        ("CH3SH", {}, ElementError, "'helm-organic-1' knows these elements"),
        ("LiH", {}, ElementError, "No model of this installation knows these elements"),
        ("OH", {"charge": -1}, ChargeError, "'helm-organic-1' knows these elements with this charge"),
        ("H2O", {"charge": 4}, ChargeError, "No model of this installation knows these elements with this"),
    ],
)
def test_a_refused_molecule_is_told_which_model_knows_it(name, info, error, advice):
    atoms = molecule(name)
    atoms.info |= info | {"multiplicity": 1}
    with pytest.raises(error, match=advice):
        HELMCalculator("helm-hcnof-2").get_potential_energy(atoms)


def test_advice_for_many_refused_molecules_reads_headers_once(monkeypatch):
    registry._knowledge.cache_clear()
    read = []
    monkeypatch.setattr(registry, "read_header", lambda path: read.append(path) or read_header(path))
    answers = list(predict_many([molecule("LiH")] * 20, model="helm-hcnof-2"))
    assert all("No model" in str(answer.error) for answer in answers)
    assert len(read) == len(set(read))


def test_a_model_is_read_only_once(cache):
    assert registry.load_shared("tiny-inside") is registry.load_shared("tiny-inside")


def test_a_file_that_was_replaced_is_read_again(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_checkpoint(tiny(seed=1), path)
    first = load_model(path)
    save_checkpoint(tiny(seed=2), path)
    assert load_model(path).sha256 != first.sha256


# -- downloads -------------------------------------------------------------------------------------------


def test_a_model_is_downloaded_once_and_then_needs_no_server(cache, server, monkeypatch):
    loaded, original = load_model("tiny-remote").model.state_dict(), tiny().model.state_dict()
    assert torch.equal(loaded["backbone.element.weight"], original["backbone.element.weight"])
    assert server.requested == ["/remote.safetensors"]
    assert len(files(cache)) == 1
    monkeypatch.setenv("HELM_OFFLINE", "1")
    assert resolve("tiny-remote").parent == cache
    assert server.requested == ["/remote.safetensors"]


def test_in_a_checkout_that_holds_the_file_nothing_is_downloaded(cache, server):
    beside = registry.checkpoint_folder() / "remote.safetensors"
    beside.write_bytes((server.folder / "remote.safetensors").read_bytes())
    assert resolve("tiny-remote") == beside
    assert server.requested == []
    beside.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="wrong checksum"):
        resolve("tiny-remote")


def test_a_slash_at_the_end_of_the_base_address_does_not_matter(cache, server, monkeypatch):
    monkeypatch.setenv("HELM_WEIGHTS_URL", server.url + "/")
    assert resolve("tiny-remote").is_file()


def test_without_a_base_address_the_error_names_the_variable(cache, monkeypatch):
    monkeypatch.delenv("HELM_WEIGHTS_URL")
    with pytest.raises(CheckpointError, match="set HELM_WEIGHTS_URL"):
        resolve("tiny-remote")


def test_a_file_with_the_wrong_checksum_is_refused_and_not_kept(cache, server):
    (server.folder / "remote.safetensors").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="cannot fetch http"):
        resolve("tiny-remote")
    assert files(cache) == []


def test_a_transfer_that_breaks_off_is_refused_and_not_kept(cache, server):
    server.cut = (server.folder / "remote.safetensors").read_bytes()[:1000]
    with pytest.raises(CheckpointError, match="nothing was kept"):
        resolve("tiny-remote")
    assert files(cache) == []
    server.cut = b""
    assert resolve("tiny-remote").is_file()


def test_a_missing_file_on_the_server_is_an_error_with_its_address(cache, server):
    (server.folder / "remote.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"remote\.safetensors.*404"):
        resolve("tiny-remote")
    assert files(cache) == []


def test_a_server_that_is_gone_is_an_error_with_its_address(cache, monkeypatch):
    monkeypatch.setenv("HELM_WEIGHTS_URL", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"http://127\.0\.0\.1:9/remote\.safetensors"):
        resolve("tiny-remote")


def test_a_damaged_cached_file_is_replaced_when_online(cache, server):
    path = resolve("tiny-remote")
    good = digest(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert digest(resolve("tiny-remote")) == good
    assert len(server.requested) == 2


def test_a_damaged_cached_file_is_removed_and_reported_when_offline(cache, monkeypatch):
    path = resolve("tiny-remote")
    path.write_bytes(b"damaged")
    monkeypatch.setenv("HELM_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="HELM_OFFLINE"):
        resolve("tiny-remote")
    assert files(cache) == []


def test_offline_with_an_empty_cache_says_what_to_do_and_asks_no_server(cache, server, monkeypatch):
    monkeypatch.setenv("HELM_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"HELM_OFFLINE is set.*helm-ase download") as caught:
        resolve("tiny-remote")
    assert str(cache) in str(caught.value)
    assert server.requested == []


@pytest.mark.parametrize("value", ["", "0"])
def test_offline_set_to_nothing_or_zero_means_online(cache, monkeypatch, value):
    monkeypatch.setenv("HELM_OFFLINE", value)
    assert resolve("tiny-remote").is_file()


def test_a_read_only_cache_with_a_valid_file_works(cache, monkeypatch):
    path = resolve("tiny-remote")

    def refuse(*_, **__):
        raise PermissionError("read-only file system")

    for name in ("unlink", "write_bytes", "mkdir", "touch"):
        monkeypatch.setattr(f"pathlib.Path.{name}", refuse)
    path.chmod(0o444)
    cache.chmod(0o555)
    try:
        assert resolve("tiny-remote") == path
    finally:
        cache.chmod(0o755)


def test_a_damaged_file_in_a_read_only_cache_is_a_checkpoint_error(cache, monkeypatch):
    path = resolve("tiny-remote")
    path.write_bytes(b"damaged")
    monkeypatch.setenv("HELM_OFFLINE", "1")

    def refuse(*_, **__):
        raise PermissionError("read-only file system")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(CheckpointError, match=r"remote\.safetensors"):
        resolve("tiny-remote")


# -- names, paths, addresses -----------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_closest_one_and_all_names(cache):
    with pytest.raises(CheckpointError, match=r"tiny-inside, tiny-remote.*did you mean 'tiny-remote'"):
        resolve("tiny-remotte")


def test_a_path_is_loaded_and_its_checksum_is_checked_if_given(server):
    path = server.folder / "remote.safetensors"
    assert load_model(path).name == "tiny"
    assert load_model(str(path), sha256=digest(path)).name == "tiny"
    with pytest.raises(CheckpointError, match="has checksum"):
        load_model(path, sha256="0" * 64)


def test_the_calculator_takes_a_path(server):
    path = server.folder / "remote.safetensors"
    calc = HELMCalculator(model=path)
    assert calc.checkpoint.name == "tiny"
    assert calc.parameters["model"] == str(path)
    hydrogen = molecule("H2")
    hydrogen.calc = calc
    assert type(hydrogen.get_potential_energy()) is float


def test_an_address_without_a_checksum_is_refused_without_asking_the_server(cache, server):
    with pytest.raises(CheckpointError, match="needs its checksum"):
        load_model(server.url + "/remote.safetensors")
    assert server.requested == []


def test_an_address_with_its_checksum_is_loaded_and_cached(cache, server):
    checksum = digest(server.folder / "remote.safetensors")
    for _ in range(2):
        assert load_model(server.url + "/remote.safetensors", sha256=checksum).name == "tiny"
        assert load_model(f"{server.url}/remote.safetensors#sha256={checksum}").name == "tiny"
    assert len(server.requested) == 1


def test_an_address_with_another_checksum_is_refused(cache, server):
    with pytest.raises(CheckpointError, match="cannot fetch"):
        load_model(server.url + "/remote.safetensors", sha256="0" * 64)
    assert files(cache) == []


def test_a_damaged_embedded_file_is_an_error_and_not_used(cache):
    path = registry.checkpoint_folder() / "inside.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(CheckpointError, match=r"inside\.safetensors is damaged.*reinstall"):
        load_model("tiny-inside")


def test_an_installation_without_a_manifest_is_an_error_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "a" / "b" / "registry.py"))
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        list_models()


def test_a_checksum_given_with_a_name_is_compared():
    name = default_model()
    assert resolve(name, sha256=list_models()[name].sha256.upper()).is_file()
    with pytest.raises(CheckpointError, match="has checksum"):
        resolve(name, sha256="0" * 64)
