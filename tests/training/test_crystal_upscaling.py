"""A small basis that learns the bands of a larger one: errors vanish at the truth, and a run lowers them."""

from dataclasses import replace

import pytest
import torch

from helm_ase.checkpoint import load_model
from helm_ase.dataset.crystals import make_crystal_sample
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.crystals import write_crystals
from helm_ase.qc.crystal import build_content, crystal_basis, crystal_level
from helm_ase.qc.crystal_baseline import crystal_hamiltonian
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.lattice import Lattice
from helm_ase.training.crystal_upscaling import band_errors, upscale, upscaling_sample
from helm_ase.training.crystals import CrystalTraining
from helm_ase.training.recipe import OptimiserSettings
from shared.crystal_labels import CARBON, LEVEL, OTHER, chain, checkpoint, label

LARGER = crystal_level(basis="gth-dzvp-molopt-sr")
RICH = AtomicOperator(
    6, (0.4, 1.5), (2.5, 1.5), (((-0.3, 0.02), (0.02, 0.1)), ((-0.1, 0.0), (0.0, 0.1)), ((0.1,),)),
    level_shift=-0.1, potential_moment=2.0,
)  # fmt: skip
"""Carbon in a basis of two s, two p and one d."""


def rich_label(seed, split="train"):
    """A label in the larger basis whose H(T) an operator makes."""
    atoms, mesh = chain(seed), (8, 1, 1)
    lattice, basis = Lattice.of_atoms(atoms), crystal_basis(LARGER, [6])
    content = build_content(atoms.numbers, atoms.positions, LARGER)
    h, _ = crystal_hamiltonian(content, lattice, basis, [RICH])
    fock = LatticeOperator.of(h.reorder("pyscf")).at(KMesh.gamma_centred(mesh).kpts).numpy()
    return LabelledCrystal(
        f"chain {seed}", atoms.numbers, atoms.positions, lattice, mesh, fock,
        energy=-300.0, free_energy=-300.1, split=split,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return checkpoint()


def test_errors_vanish_at_the_matrix_of_the_label(model):
    """Labels in the model's own basis: the truth is known."""
    own = label(0, OTHER)
    sample = upscaling_sample(own, LEVEL, model)
    truth = make_crystal_sample(own, LEVEL, model.basis, [CARBON], model.model.cutoff)
    every = torch.arange(len(sample.kpts))
    without = float(sample.errors(torch.zeros_like(truth.correction), every).abs().mean())
    assert without > 0.1
    assert float(sample.errors(truth.correction, every).abs().mean()) < 0.03 * without  # beyond the cutoff


def test_levels_of_the_larger_basis_are_kept_as_far_as_the_small_one_has_any(model):
    sample = upscaling_sample(rich_label(0), LARGER, model)
    assert sample.levels.shape == (len(sample.kpts), 8)
    assert sample.occupied == 4
    assert sample.overlap.size == 8


def test_a_run_lowers_the_errors_of_bands_and_says_what_it_learnt(model, tmp_path):
    labels = [rich_label(k) for k in range(3)] + [rich_label(3, "val")]
    write_crystals(tmp_path / "larger.h5", labels, LARGER)
    settings = CrystalTraining(
        "upscaled",
        epochs=40,
        k_points=3,
        virtuals=2,
        optimiser=OptimiserSettings(learning_rate=1e-2, averaging=0.9),
    )
    found, history = upscale(tmp_path / "larger.h5", model, tmp_path / "upscaled.safetensors", settings)
    assert history[-1]["bands"] < 0.7 * history[0]["bands"]
    unseen = [upscaling_sample(labels[3], LARGER, model, 2)]
    before, after = band_errors(model.model, unseen), band_errors(found.model, unseen)
    assert after.occupied < 0.8 * before.occupied
    assert after.occupied == pytest.approx(found.metrics["val_occupied"])
    read = load_model(tmp_path / "upscaled.safetensors")
    assert (read.level, read.training["bands_of"]) == (LEVEL, "gth-dzvp-molopt-sr")
    assert read.predicts == {"hamiltonian"}
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.model.parameters(), checkpoint().model.parameters(), strict=True)
    )


def test_what_cannot_be_learnt_is_refused(model, tmp_path):
    with pytest.raises(SettingError, match="all but the basis must be the same"):
        upscaling_sample(label(0), replace(LEVEL, functional="lda,vwn"), model)
    small = replace(model, level=LARGER)
    with pytest.raises(SettingError, match="all but the basis must be the same"):
        upscaling_sample(rich_label(0), replace(LARGER, smearing=0.01), small)
    write_crystals(tmp_path / "val.h5", [rich_label(0, "val")], LARGER)
    with pytest.raises(DatasetError, match="no entries of the split 'train'"):
        upscale(tmp_path / "val.h5", model, tmp_path / "x.safetensors", CrystalTraining("x", epochs=1))
    assert band_errors(None, []) is None
