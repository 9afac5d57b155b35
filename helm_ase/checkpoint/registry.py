"""Finding checkpoint files by name, path or URL; downloads are cached and verified.

Environment variables
---------------------
HELM_CACHE_DIR
    Where downloads are kept (default: the user's cache directory).
HELM_OFFLINE
    If set, and neither empty nor 0, nothing is downloaded.
HELM_WEIGHTS_URL
    Base URL for relative URLs in the manifest.
"""

import contextlib
import copy
import difflib
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import urljoin, urlparse

import pooch

from helm_ase.checkpoint.download import download
from helm_ase.checkpoint.format import Checkpoint, file_sha256, read_checkpoint, read_header
from helm_ase.checkpoint.knowledge import Knowledge
from helm_ase.checkpoint.manifest import CHECKSUM, ModelEntry, read_manifest
from helm_ase.checkpoint.uncertainty import uncertainty_path
from helm_ase.errors import CheckpointError


def checkpoint_folder() -> Path:
    """Folder of the manifest and the embedded weights: inside the wheel, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "checkpoints", package.parent / "checkpoints"):
        if (folder / "manifest.json").is_file():
            return folder
    raise CheckpointError(
        f"the installation is damaged: no manifest.json beside {package}; reinstall helm-ase"
    )


def cache_folder() -> Path:
    """Folder of downloaded checkpoints."""
    return Path(os.environ.get("HELM_CACHE_DIR") or pooch.os_cache("helm-ase"))


def list_models() -> dict[str, ModelEntry]:
    """All names that :func:`load_model` knows."""
    return read_manifest(checkpoint_folder() / "manifest.json").models


def default_model() -> str:
    """Name of the model that is used when none is given."""
    return read_manifest(checkpoint_folder() / "manifest.json").default


def load_model(model: str | Path | None = None, sha256: str | None = None) -> Checkpoint:
    """Load a checkpoint by name, path or URL.

    Parameters
    ----------
    model
        A name from :func:`list_models`, a path to a ``.safetensors`` file, or an http(s) URL, which may
        carry its checksum: ``https://host/file.safetensors#sha256=…``.  None: the default.
    sha256
        Expected checksum; required for a URL, optional for a path, pinned for a name.

    Raises
    ------
    CheckpointError
        If the model is unknown, cannot be fetched, or fails its checksum.

    Examples
    --------
    >>> from helm_ase import load_model
    >>> sorted(load_model("helm-hcnof-2").basis.elements)
    [1, 6, 7, 8, 9]
    """
    shared = load_shared(model, sha256)
    return replace(shared, model=copy.deepcopy(shared.model))


def load_shared(model: str | Path | None = None, sha256: str | None = None) -> Checkpoint:
    """Like :func:`load_model`, but all callers share the same weights, which must not be changed."""
    path = resolve(model, sha256)
    beside = uncertainty_path(path)
    files = [path, beside] if beside.is_file() else [path]
    return _read_cached(str(path), tuple(map(file_sha256, files)))  # size and time do not tell contents


def knowledge_at_hand() -> dict[str, Knowledge]:
    """What the models have learnt whose files are in this installation, by name.

    Read from headers, without weights and checksums; files that cannot be read are left out, because they
    are an error of their own when they are asked for.
    """
    try:
        folder, models = checkpoint_folder(), list_models()
    except (CheckpointError, OSError):
        return {}
    found = {}
    for name, entry in models.items():
        path = folder / entry.file
        with contextlib.suppress(CheckpointError, OSError, KeyError, TypeError):
            stamp = path.stat()
            found[name] = _knowledge(str(path), stamp.st_mtime_ns, stamp.st_size)
    return found


@lru_cache(maxsize=64)
def _knowledge(path: str, time: int, size: int) -> Knowledge:
    return Knowledge.of_header(read_header(path))


@lru_cache(maxsize=4)
def _read_cached(path: str, sha256: tuple[str, ...]) -> Checkpoint:
    return read_checkpoint(path)


def resolve(model: str | Path | None = None, sha256: str | None = None) -> Path:
    """Path of a verified checkpoint file, downloaded if need be; see :func:`load_model`."""
    text = default_model() if model is None else os.fspath(model)
    sha256 = None if sha256 is None else sha256.lower()
    if urlparse(text).scheme in ("http", "https"):
        address, _, fragment = text.partition("#")
        sha256 = sha256 or fragment.removeprefix("sha256=").lower()
        if not sha256:
            raise CheckpointError(f"loading {text} needs its checksum: append #sha256=… to the address")
        if not CHECKSUM.fullmatch(sha256):
            raise CheckpointError(f"{sha256!r} is no SHA-256: 64 hexadecimal digits")
        return _fetch(address, Path(urlparse(address).path).name or "model.safetensors", sha256)
    entries = list_models()
    if text in entries:
        if sha256 not in (None, entries[text].sha256):
            raise CheckpointError(f"model {text!r} has checksum {entries[text].sha256}, not {sha256}")
        return _resolve_entry(entries[text])
    path = Path(text).expanduser()
    if os.path.isfile(path):  # False for impossible names, for which Path raises
        if sha256 is not None and file_sha256(path) != sha256:
            raise CheckpointError(f"{path} has checksum {file_sha256(path)}, not {sha256}")
        return path
    close = difflib.get_close_matches(text, entries, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise CheckpointError(f"{text!r} is neither a model ({', '.join(entries)}) nor a file{hint}")


def _resolve_entry(entry: ModelEntry) -> Path:
    packaged = checkpoint_folder() / entry.file
    if packaged.is_file():  # embedded, or in a checkout, which holds all weights
        expected = {packaged: entry.sha256, uncertainty_path(packaged): entry.uncertainty_sha256}
        for path, sha256 in expected.items():
            if sha256 and (not path.is_file() or file_sha256(path) != sha256):
                raise CheckpointError(f"{path} is damaged (wrong checksum); reinstall helm-ase")
        return packaged
    base = os.environ.get("HELM_WEIGHTS_URL", "")
    url = urljoin(base if base.endswith("/") or not base else base + "/", entry.url)
    target = _fetch(url, entry.file, entry.sha256, size=entry.size)
    if entry.uncertainty_sha256:
        beside_url = urljoin(url, uncertainty_path(Path(urlparse(url).path)).name)
        _fetch(
            beside_url, uncertainty_path(entry.file).name, entry.uncertainty_sha256, uncertainty_path(target)
        )
    return target


def _discard(path: Path) -> None:
    """Remove a damaged file, so that it is never used."""
    try:
        path.unlink(missing_ok=True)  # another process may have been faster
    except OSError as error:
        raise CheckpointError(f"{path} is damaged and cannot be removed: {error}") from error


def _fetch(url: str, file: str, sha256: str, target: Path | None = None, size: int | None = None) -> Path:
    target = target or cache_folder() / f"{sha256[:16]}-{file}"
    if target.is_file():
        if file_sha256(target) == sha256:
            return target
        _discard(target)
    if os.environ.get("HELM_OFFLINE", "0") not in ("", "0"):
        raise CheckpointError(
            f"{file} is not in {cache_folder()} and HELM_OFFLINE is set; on a machine with a network, run "
            f"'helm-ase download' and copy the file to {target}"
        )
    if urlparse(url).scheme not in ("http", "https"):
        raise CheckpointError(
            f"{file} is not in this installation and has the relative address {url!r}: set HELM_WEIGHTS_URL "
            "to the server of your weights, or load the file from checkpoints/ of the source by its path"
        )
    download(url, target, sha256, size)
    return target
