"""Checkpoints whose headers ask for too much, contradict themselves or their weights: refused in words."""

import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from helm_ase.checkpoint import save_checkpoint
from helm_ase.checkpoint.format import HEADER_KEY
from shared.bounded_process import readable, refused_in_words
from shared.small_checkpoints import tiny_checkpoint


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Weights and header of a small checkpoint."""
    path = tmp_path_factory.mktemp("good") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint(), path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER_KEY])
    return load_file(path), header


def changed(header, where, value):
    """A copy of the header with another value at a path; ``...`` removes it."""
    header = json.loads(json.dumps(header))
    *way, last = where.split("/")
    place = header
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return header


def written(path, weights, header):
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(weights, path, metadata={HEADER_KEY: text})
    return path


HEADERS = {
    "a million channels": ("settings/backbone/natural_channels", 10**6, "more than|is 1000000"),
    "a hundred thousand channels": ("settings/backbone/natural_channels", 10**5, "more than"),
    "a hundred thousand odd channels": ("settings/backbone/unnatural_channels", 10**5, "more than"),
    "a hundred thousand gaussians": ("settings/backbone/gaussians", 10**5, "numbers|type or shape"),
    "a hundred thousand hidden": ("settings/energy_hidden", 10**5, "numbers|type or shape"),
    "a hundred thousand radial": ("settings/backbone/radial_hidden", 10**5, "more than"),
    "a billion layers": ("settings/backbone/node_layers", 10**9, "node_layers is 1000000000"),
    "degree a thousand": ("settings/backbone/lmax", 1000, "lmax is 1000"),
    "negative channels": ("settings/backbone/natural_channels", -4, "natural_channels is -4"),
    "half a channel": ("settings/backbone/natural_channels", 2.5, "not of type int"),
    "channels in words": ("settings/backbone/natural_channels", "two", "not of type int"),
    "true channels": ("settings/backbone/natural_channels", True, "not of type int"),
    "a cutoff of NaN": ("settings/backbone/cutoff", float("nan"), "not of type float"),
    "an endless cutoff": ("settings/backbone/cutoff", float("inf"), "not of type float"),
    "a negative cutoff": ("settings/backbone/cutoff", -5.0, "cutoff"),
    "parity of seven": ("settings/backbone/parity", 7, "not of type bool"),
    "an unknown switch": ("settings/backbone/turbo", True, "turbo"),
    "no backbone": ("settings/backbone", ..., "backbone"),
    "a backbone that is a list": ("settings/backbone", [], "tiny|make a model"),
    "no settings": ("settings", ..., "'settings'"),
    "a million shells": ("basis/shells", {"1": [0] * 10**6}, "1000000 shells"),
    "no shells of an element": ("basis/shells", {"1": []}, "0 shells"),
    "no elements": ("basis/shells", {}, "elements"),
    "element 300": ("basis/shells", {"300": [0]}, "elements"),
    "shells of degree -1": ("basis/shells", {"1": [-1]}, "makes no sense"),
    "shells in words": ("basis/shells", {"1": "s"}, "make a model"),
    "another element than its basis": ("elements", [6], "not those of the basis"),
    "another basis than its level": ("basis/name", "sto-3g", "labels in 'def2-svp'"),
    "a level in another basis": ("level/basis", "cc-pvdz", "labels in 'cc-pvdz'"),
    "a basis that is a path": ("basis/name", "../../etc/passwd", "labels in"),
    "a level without basis": ("level/basis", ..., "basis"),
    "an unknown level field": ("level/colour", "red", "colour"),
    "core electrons of another element": ("basis/core_electrons", {"79": 60}, "core electrons"),
    "charges that differ": ("charges", [0, 1], "charges are"),
    "charges in halves": ("settings/charges", [0.5], "charges"),
    "no multiplicity": ("multiplicities", [], "multiplicities"),
    "a thousand charges": ("charges", list(range(1000)), "charges are"),
    "coverage without end": ("coverage/limit", 1e12, "coverage up to"),
    "coverage of NaN": ("coverage/limit", float("nan"), "coverage up to"),
    "coverage of other elements": ("coverage/pairs", {"6-6": [3]}, "lacks an element"),
    "coverage beyond its limit": ("coverage/pairs", {"1-1": [10**9]}, "beyond"),
    "coverage of negative distances": ("coverage/pairs", {"1-1": [-3]}, "beyond"),
    "coverage in other bins": ("coverage/bin_width", 0.1, "bins of 0.1"),
    "no coverage": ("coverage", ..., "'coverage'"),
    "energies in hartree": ("units/energy", "hartree", "units"),
    "another AO order": ("ao_order", "orca", "AO order"),
    "an unknown baseline": ("baseline/name", "magic", "magic"),
    "a baseline grid of 10^9 points": ("baseline/grid", "many", "make a model"),
    "an unknown energy baseline": ("energy_baseline/name", "magic", "magic"),
    "a name that is a number": ("name", 7, "'name'"),
    "no name": ("name", ..., "'name'"),
    "training as a list": ("training", [1], "'training'"),
    "metrics as a text": ("metrics", "good", "'metrics'"),
    "format 0": ("format_version", 0, "never existed"),
    "format -1": ("format_version", -1, "never existed"),
    "format of tomorrow": ("format_version", 99, "upgrade"),
    "format in words": ("format_version", "two", "not a helm_ase checkpoint"),
    "format 1 without settings": ("format_version", 1, "tiny|damaged|make a model"),
}  # fmt: skip
OFF = {"format 1 without settings"}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_cannot_be_is_refused(name, good, tmp_path, bounded):
    weights, header = good
    where, value, words = HEADERS[name]
    header = changed(header, where, value)
    if name in OFF:
        header = changed(header, "settings", ...)
    text = refused_in_words(
        bounded.ask("load_checkpoint", written(tmp_path / "tiny.safetensors", weights, header))
    )
    assert any(word in text for word in words.split("|")), text


FILES = {
    "nested header": lambda w, h: "[" * 100000,
    "header that is a list": lambda w, h: "[1, 2]",
    "header that is a text": lambda w, h: '"helm"',
    "header that is cut": lambda w, h: json.dumps(h)[:-20],
    "header with ten thousand digits": lambda w, h: json.dumps(h)[:-1] + ', "n": ' + "9" * 10000 + "}",
    "empty header": lambda w, h: "{}",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_is_none_is_refused(name, good, tmp_path, bounded):
    weights, header = good
    path = written(tmp_path / "tiny.safetensors", weights, FILES[name](weights, header))
    refused_in_words(bounded.ask("load_checkpoint", path))


BYTES = {
    "no bytes": lambda data: b"",
    "a header of 10^15 bytes": lambda data: struct.pack("<Q", 10**15) + data[8:],
    "half of the file": lambda data: data[: len(data) // 2],
    "a pickle": lambda data: b"\x80\x04\x95" + bytes(100),
    "HTML": lambda data: b"<!doctype html><title>404</title>",
    "bytes behind the weights": lambda data: data + bytes(100),
    "only zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("name", BYTES)
def test_a_file_that_is_no_checkpoint_is_refused(name, good, tmp_path, bounded):
    path = written(tmp_path / "tiny.safetensors", *good)
    path.write_bytes(BYTES[name](path.read_bytes()))
    refused_in_words(bounded.ask("load_checkpoint", path))


INFO = {
    "info of a name with escapes": ("name", "tiny\x1b]0;pwned\x07"),
    "info of a recipe with escapes": ("training", {"recipe": "\x1b[2J"}),
    "info of a level with escapes": ("level/functional", "\x1b[31mb3lyp"),
    "info of metrics with escapes": ("metrics", {"\x1b[31m": 1.0}),
}


@pytest.mark.parametrize("name", INFO)
def test_info_prints_no_control_characters(name, good, tmp_path, bounded):
    weights, header = good
    path = written(tmp_path / "tiny.safetensors", weights, changed(header, *INFO[name]))
    outcome = bounded.ask("command", ["info", path], tmp_path)
    assert outcome.kind == "answer", outcome
    assert "\x1b" not in outcome.value[1] + outcome.value[2]


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(), st.text(max_size=20),
    st.lists(st.integers(-5, 5), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


def leaves(header, prefix=""):
    for key, value in header.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}/")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused(data, good, tmp_path, bounded):
    weights, header = good
    where = data.draw(st.sampled_from(sorted(leaves(header))))
    path = written(tmp_path / "tiny.safetensors", weights, changed(header, where, data.draw(VALUES)))
    outcome = bounded.ask("load_checkpoint", path)
    assert outcome.kind in ("answer", "refused"), (where, outcome)
    readable(outcome.text)


CASES = [*HEADERS, *FILES, *BYTES, *INFO]
