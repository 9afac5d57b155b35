"""The checkpoint file: what it holds, what it survives and what it refuses."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import CalculatorSetupError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import helm_ase.checkpoint.format as format_module
from helm_ase import HELMCalculator, load_model
from helm_ase.checkpoint import read_checkpoint, read_header, resolve, save_checkpoint
from helm_ase.checkpoint.format import FORMAT_VERSION, HEADER_KEY, file_sha256
from helm_ase.errors import CheckpointError
from helm_ase.prediction.domain import ExtrapolationWarning
from helm_ase.representation.graph import AtomicGraph
from shared.small_checkpoints import tiny_checkpoint


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint(), path)
    return path


def predict(model):
    graph = AtomicGraph.from_arrays(
        [1, 1, 1, 1], np.array([[0, 0, 0], [0, 0.1, 0.74], [3, 0, 0.1], [3, 0.3, 0.8]]), model.cutoff
    )
    answers = model(graph, energy=True, forces=True, hamiltonian=True)
    return [tensor.detach() for tensor in answers if tensor is not None]


def rewrite(path, header=None, tensors=None):
    """Write the file again with a changed header or changed weights."""
    with safe_open(path, framework="pt") as file:
        old = json.loads(file.metadata()[HEADER_KEY])
    weights = load_file(path)
    if header is not None:
        header(old)
    if tensors is not None:
        tensors(weights)
    save_file(weights, path, metadata={HEADER_KEY: json.dumps(old)})


# -- what survives a round trip --------------------------------------------------------------------------


def test_a_checkpoint_read_back_predicts_the_same_bits(tiny):
    original, back = tiny_checkpoint(), read_checkpoint(tiny)
    original.model.requires_grad_(
        False
    )  # as what is read: PyTorch multiplies matrices with gradients otherwise
    for a, b in zip(predict(original.model), predict(back.model), strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(a).all()
        assert a.abs().max() > 0


def test_everything_but_the_weights_survives_too(tiny):
    original, back = tiny_checkpoint(), read_checkpoint(tiny)
    assert back.level == original.level
    assert back.baseline == original.baseline
    assert back.basis == original.basis
    assert back.model.settings == original.model.settings
    assert back.coverage == original.coverage
    assert (back.name, back.training, back.metrics) == (original.name, original.training, original.metrics)
    assert back.sha256 == file_sha256(tiny)


def test_energy_references_survive_in_double_precision(tiny):
    model = read_checkpoint(tiny).model
    assert model.energy_reference.dtype == torch.float64
    assert model.energy_reference.tolist() == [-13.1]
    assert model.energy_scale.item() == 0.7


def test_a_checkpoint_that_was_read_writes_the_same_file_again(tiny, tmp_path):
    again = tmp_path / "again.safetensors"
    assert save_checkpoint(read_checkpoint(tiny), again) == file_sha256(tiny)


def test_a_model_read_from_a_file_is_frozen_and_in_evaluation_mode(tiny):
    model = read_checkpoint(tiny).model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_reading_does_not_touch_the_random_numbers_of_torch(tiny):
    torch.manual_seed(4)
    before = torch.get_rng_state()
    read_checkpoint(tiny)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_replaces_an_older_file_and_leaves_nothing_else(tiny):
    checksum = save_checkpoint(tiny_checkpoint(seed=1), tiny)
    assert checksum == file_sha256(tiny)
    assert [p.name for p in tiny.parent.iterdir()] == ["tiny.safetensors"]


# -- what the header says --------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["tiny", "default"])
def test_the_header_says_everything_needed_to_use_the_model(which, tiny):
    header = read_header(tiny if which == "tiny" else resolve())
    assert header["format_version"] == FORMAT_VERSION
    assert {"functional", "variant", "basis", "density_fitting", "grid_level", "code"} <= set(header["level"])
    assert "VWN" in header["level"]["variant"]
    assert header["baseline"]["name"] in ("sap", "fitted")
    assert header["units"] == {
        "length": "angstrom", "energy": "eV", "forces": "eV/angstrom", "hamiltonian": "hartree",
    }  # fmt: skip
    assert header["ao_order"] == "e3nn"
    assert 0 in header["charges"]
    assert 1 in header["multiplicities"]
    training = header["training"]
    files = training.get("data", [{"sha256": training.get("data_sha256", "")}])  # one file in the beginning
    assert all(len(file["sha256"]) == 64 for file in files)
    assert header["metrics"]["hamiltonian"] > 0


def test_the_default_model_is_b3lyp_def2_svp_for_organic_molecules():
    header = read_header(resolve())
    assert (header["level"]["functional"], header["level"]["basis"]) == ("b3lyp", "def2-svp")
    assert header["elements"] == [1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53]
    assert header["name"] == "helm-organic-1"


def test_the_default_model_was_measured_and_keeps_its_promises():
    metrics = load_model().metrics
    assert metrics["molecules"] >= 50
    assert metrics["hamiltonian"] < 350  # µEh
    assert metrics["homo"] < 0.12  # eV; half of these molecules are ions or open shells
    assert metrics["forces"] < 0.06  # eV/Å
    assert metrics["energy"] < 0.008  # eV/atom


def test_nothing_but_numbers_and_text_is_stored():
    with safe_open(resolve(), framework="pt") as file:
        dtypes = {str(file.get_slice(key).get_dtype()) for key in file.keys()}  # noqa: SIM118
    assert dtypes <= {"F32", "F64"}


# -- what is refused -------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, CalculatorSetupError)
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    assert "no checkpoint" in refused(tmp_path / "absent.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path):
    refused(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tiny, kept):
    data = tiny.read_bytes()
    tiny.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    refused(tiny)


def test_appended_bytes_are_refused(tiny):
    tiny.write_bytes(tiny.read_bytes() + b"\0")
    refused(tiny)


def test_random_bytes_are_refused(tmp_path):
    path = tmp_path / "noise.safetensors"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    refused(path)


def test_a_foreign_safetensors_file_is_refused_as_such(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a helm_ase checkpoint" in refused(path)


@pytest.mark.parametrize(
    "content", ["[]", "null", "3", '"text"', "{}", '{"format_version": "1"}', "not json"]
)
def test_a_header_that_is_not_ours_is_refused(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={HEADER_KEY: content})
    refused(path)


def test_a_newer_format_is_refused_with_the_advice_to_upgrade(tiny):
    rewrite(tiny, header=lambda h: h.update(format_version=FORMAT_VERSION + 1))
    assert "upgrade helm-ase" in refused(tiny)


@pytest.mark.parametrize("version", [0, -1])
def test_a_format_that_never_existed_is_refused(tiny, version):
    rewrite(tiny, header=lambda h: h.update(format_version=version))
    refused(tiny)


@pytest.mark.parametrize(
    "key", ["name", "settings", "basis", "level", "baseline", "coverage", "training", "metrics"]
)
def test_a_header_without_a_field_is_refused(tiny, key):
    rewrite(tiny, header=lambda h: h.pop(key))
    assert key in refused(tiny)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("settings", {"invented": 1}),
        ("level", {"invented": 1}),
        ("baseline", {"name": "guess"}),
        ("basis", {"shells": {"1": []}}),
        ("basis", {"shells": {"200": [0]}}),
        ("coverage", {"bin_width": 0.1}),
        ("coverage", {"pairs": {"H-H": "all"}}),
    ],
)
def test_a_header_with_nonsense_in_it_is_refused(tiny, section, change):
    rewrite(tiny, header=lambda h: h[section].update(change))
    refused(tiny)


@pytest.mark.parametrize(
    ("key", "value"),
    [("average_neighbours", 0.0), ("lmax", -1), ("natural_channels", 0), ("node_layers", 0),
     ("gaussians", 0), ("cutoff", "five"), ("edge_layers", 2)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_an_architecture_that_cannot_be_built_is_refused(tiny, key, value):
    rewrite(tiny, header=lambda h: h["settings"]["backbone"].update({key: value}))
    refused(tiny)


def first_weight(weights):
    return next(k for k in sorted(weights) if weights[k].dtype == torch.float32 and weights[k].numel() > 1)


def test_missing_weights_are_refused_by_name(tiny):
    rewrite(tiny, tensors=lambda w: w.pop("energy_reference"))
    assert "energy_reference" in refused(tiny)


def test_surplus_weights_are_refused_by_name(tiny):
    rewrite(tiny, tensors=lambda w: w.update(surplus=torch.zeros(2)))
    assert "surplus" in refused(tiny)


def test_weights_of_the_wrong_shape_are_refused(tiny):
    rewrite(tiny, tensors=lambda w: w.update({first_weight(w): torch.zeros(17, 3)}))
    refused(tiny)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tiny, bad):
    name = first_weight(load_file(tiny))
    rewrite(tiny, tensors=lambda w: w[name].view(-1)[:1].fill_(bad))
    assert name in refused(tiny)


def test_weights_of_another_type_are_refused(tiny):
    """An integer file of the same layout would otherwise load as garbage."""
    rewrite(tiny, tensors=lambda w: w.update({first_weight(w): w[first_weight(w)].view(torch.int32)}))
    refused(tiny)


class Evil:
    """Unpickling this creates a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_not_executed(tmp_path, zipped):
    path, proof = tmp_path / "evil.safetensors", tmp_path / "executed"
    torch.save({"weight": Evil(str(proof))}, path, _use_new_zipfile_serialization=zipped)
    refused(path)
    assert not proof.exists()
    bait = path.rename(tmp_path / "evil.pt")
    torch.load(bait, weights_only=False)  # the bait is real
    assert proof.exists()


# -- saving that fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("where", ["save_file", "replace"])
def test_a_failing_save_leaves_neither_a_part_nor_a_damaged_target(tmp_path, monkeypatch, older, where):
    target = tmp_path / "model.safetensors"
    if older:
        save_checkpoint(tiny_checkpoint(), target)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def disk_full(data, path, **_):
        if where == "save_file":
            with open(path, "wb") as file:
                file.write(b"half a file")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        if where == "save_file":
            patched.setattr(format_module, "save_file", disk_full)
        else:
            patched.setattr(Path, "replace", disk_full)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(tiny_checkpoint(seed=1), target)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# -- damage of any kind ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    path = tmp_path_factory.mktemp("pristine") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint(), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "damaged.safetensors"


QUIET = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def load_or_refuse(path, data):
    """None if the file is refused properly; any other exception escapes."""
    path.write_bytes(data)
    try:
        return read_checkpoint(path)
    except CheckpointError as error:
        if str(path) not in str(error):
            raise
        return None


@settings(QUIET, max_examples=60)
@given(data=st.data())
def test_flipped_bytes_in_the_weights_are_refused_or_give_finite_weights(pristine, scratch, data):
    start = 8 + struct.unpack("<Q", pristine[:8])[0]
    damaged = bytearray(pristine)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(start, len(pristine) - 1))] ^= data.draw(st.integers(1, 255))
    loaded = load_or_refuse(scratch, bytes(damaged))
    if loaded is not None:
        assert all(torch.isfinite(t).all() for t in loaded.model.state_dict().values())


@settings(QUIET, max_examples=150)
@given(data=st.data())
def test_flipped_bytes_in_the_header_never_end_in_another_exception(pristine, scratch, data):
    end = 8 + struct.unpack("<Q", pristine[:8])[0]
    damaged = bytearray(pristine)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, end - 1))
        damaged[position] = data.draw(st.sampled_from(b'0189-.,:"{}[]eZ \x00\xff') | st.integers(0, 255))
    load_or_refuse(scratch, bytes(damaged))


@settings(QUIET, max_examples=40)
@given(data=st.data())
def test_cut_or_doubled_stretches_are_refused(pristine, scratch, data):
    a, b = sorted(data.draw(st.tuples(st.integers(0, len(pristine)), st.integers(0, len(pristine)))))
    damaged = data.draw(st.sampled_from([pristine[:a] + pristine[b:], pristine[:b] + pristine[a:]]))
    if damaged != pristine:
        assert load_or_refuse(scratch, damaged) is None


def test_pairs_of_elements_that_training_never_met_do_not_spoil_the_levels():
    """The default model saw selenium and fluorine, never both; levels of B3LYP/def2-SVP by PySCF, eV."""
    atoms = Atoms("SeF2", [[0, 0, 0], [1.69, 0, 0], [-0.2, 1.68, 0]])
    with pytest.warns(ExtrapolationWarning, match="never saw F–Se"):
        levels = HELMCalculator().get_homo_lumo(atoms)
    assert levels == pytest.approx((-6.47, -1.90), abs=0.6)  # HOMO and LUMO were −11.0 and −10.5
