"""A model of a small basis with the observables of a large one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.checkpoint import read_checkpoint
from helm_ase.dataset.batch import collate
from helm_ase.dataset.dataset import MoleculeDataset
from helm_ase.errors import BasisError, SettingError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.writer import LabelWriter
from helm_ase.nn import HELM, HELMSettings, Prediction
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import ao_basis, basis_of, build_mole, cross_overlap, dipole_integrals, overlap
from helm_ase.representation import AOMatrix
from helm_ase.representation.overlap import symmetric_root
from helm_ase.representation.structure import Structure
from helm_ase.training.losses import LossWeights, loss_terms
from helm_ase.training.output_scales import fit_block_scales
from helm_ase.training.recipe import DataSettings
from helm_ase.training.run import train
from shared.labelled_samples import SAP, values_of
from shared.sample_labels import TINY
from shared.small_models import TINY as BACKBONE
from shared.small_recipes import recipe, stage

pytestmark = pytest.mark.scf

LARGE = replace(TINY, basis="def2-svp")
UPSCALED = ("levels", "gap", "dipole", "polarizability")


def structure(name, charge=0, multiplicity=1):
    atoms = molecule(name)
    noise = np.random.default_rng(0).normal(scale=0.03, size=atoms.positions.shape)
    return Structure(name, atoms.numbers, atoms.positions + noise, charge, multiplicity)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "large.h5"
    with LabelWriter(path, LARGE) as writer:
        for s in (structure("H2CO"), structure("H2O"), structure("CH3", 0, 2)):
            writer.add(label_structure(s, LabelSettings(LARGE, forces=False)))
    return path


@pytest.fixture(scope="module")
def data(labels, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return MoleculeDataset(
        open_labels(labels), baseline=Baseline("minao", (20, 110)), cache=cache, model_basis="sto-3g"
    ).prepare()


def raw_correction(sample, label):
    """H − H0 of a calculation in the small basis itself, (1, s, A, A)."""
    found = label_structure(structure(label.name), LabelSettings(TINY, forces=False))
    basis = basis_of(build_mole(label.numbers, label.positions, "sto-3g"))
    h = AOMatrix(found.hamiltonian, label.numbers, basis, "pyscf").reorder("e3nn").values
    return torch.from_numpy(h - sample.baseline.numpy())[None, None]


def fit(batch, start, terms, steps=400):
    """Free symmetric ΔH that minimises the sum of the terms."""
    generator = torch.Generator().manual_seed(0)
    free = start + 1e-3 * torch.randn(start.shape, dtype=torch.float64, generator=generator)
    free.requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.02)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(values_of(0.5 * (free + free.mT), batch, *terms).values()).backward()
        optimiser.step()
        rate.step()
    return 0.5 * (free + free.mT).detach()


@pytest.mark.parametrize("orthogonal", [False, True])
def test_a_small_matrix_can_have_levels_dipole_and_polarizability_of_a_large_one(data, orthogonal):
    sample, label = data[0], data.label(0)
    trust = [symmetric_root(sample.overlap)] if orthogonal else None
    batch = collate([sample], trust)
    raw = values_of(raw_correction(sample, label), collate([sample]), *UPSCALED)
    start = torch.zeros(1, 1, *sample.baseline.shape, dtype=torch.float64)
    found = values_of(fit(batch, start, ("levels", "dipole", "polarizability")), batch, *UPSCALED)
    for term in ("levels", "dipole", "polarizability"):
        assert float(raw[term]) > 5, term
        assert float(found[term]) < 0.05, term
    assert float(found["gap"]) < 0.1


def test_where_seven_functions_cannot_have_all_three_they_gain_in_each(data):
    """Water: a free ΔH reaches the polarizability alone; with the right levels and dipole some is left."""
    sample, label = data[1], data.label(1)
    batch = collate([sample])
    raw = values_of(raw_correction(sample, label), batch, *UPSCALED)
    start = torch.zeros(1, 1, *sample.baseline.shape, dtype=torch.float64)
    found = values_of(fit(batch, start, ("levels", "dipole", "polarizability")), batch, *UPSCALED)
    assert float(found["levels"]) < 0.02 * float(raw["levels"])
    assert float(found["dipole"]) < 0.1 * float(raw["dipole"])
    assert float(found["polarizability"]) < 0.75 * float(raw["polarizability"])


def test_matrices_are_those_of_the_small_basis_and_targets_those_of_the_label(data):
    for k, sample in enumerate(data):
        label, t = data.label(k), sample.targets
        small = build_mole(label.numbers, label.positions, "sto-3g", 0, label.multiplicity)
        assert sample.overlap.shape == sample.baseline.shape == (small.nao, small.nao)
        np.testing.assert_allclose(sample.overlap, overlap(small, basis_of(small)).values, atol=1e-12)
        np.testing.assert_allclose(t.position, dipole_integrals(small, basis_of(small)), atol=1e-12)
        assert torch.isnan(sample.correction).all()
        assert t.larger
        assert t.levels.shape == (label.spin_channels, min(max(t.occupied) + 6, small.nao))
        energies = label.orbital_energies.reshape(label.spin_channels, -1)
        known = torch.isfinite(t.levels)
        np.testing.assert_allclose(
            t.levels[known], energies[:, : t.levels.shape[1]][known.numpy()], atol=2e-5
        )
        nuclei = small.atom_charges() @ small.atom_coords()
        np.testing.assert_allclose(t.dipole.numpy() + nuclei, label.dipole, atol=2e-5)
        assert [int(n) for n in small.nelec[: label.spin_channels]] == list(t.occupied)


def test_occupied_orbitals_of_the_large_basis_lie_almost_within_the_small_one(data):
    for sample in data:
        inside = sample.targets.projection @ torch.linalg.solve(
            sample.overlap, sample.targets.projection.transpose(1, 2)
        )
        shares = inside.diagonal(dim1=1, dim2=2)
        assert (shares < 1 + 1e-5).all()
        for spin, n in enumerate(sample.targets.occupied):
            assert (shares[spin, :n] > 0.85).all()


def test_cross_overlap_of_a_basis_with_itself_is_its_overlap_and_swaps_with_its_transpose():
    atoms = molecule("H2CO")
    a, b = (build_mole(atoms.numbers, atoms.positions, name) for name in ("sto-3g", "def2-svp"))
    (x, y) = basis_of(a), basis_of(b)
    np.testing.assert_allclose(cross_overlap(b, y, b, y), overlap(b, y).values, atol=1e-12)
    np.testing.assert_allclose(cross_overlap(a, x, b, y), cross_overlap(b, y, a, x).T, atol=1e-12)


def test_a_model_that_must_find_its_matrix_itself_begins_with_that_of_the_baseline(data):
    """Scales come from H0 where ΔH is unknown; as shifts they would displace every core level for good."""
    settings = HELMSettings(BACKBONE, multiplicities=(1, 2))
    model = HELM(ao_basis("sto-3g", (1, 6, 8)), settings)
    fit_block_scales(model, [data[k] for k in range(len(data))])
    for head in model.hamiltonian_heads:
        assert not head.onsite.shift.any()
        for readout in (head.onsite, head.pair):
            for name, buffer in readout.named_buffers():
                assert not name.startswith("scale") or (buffer > 0).all()
    oxygen = model.element_index[8]
    assert float(model.hamiltonian_heads[0].onsite.scale_L0n[oxygen].max()) > 0.5  # 1s: a twentieth of −20 Eh


def test_terms_that_compare_matrices_are_refused(data):
    sample = data[0]
    batch = collate([sample])
    assert not batch.has_matrix
    prediction = Prediction(None, None, torch.zeros(1, 1, *sample.baseline.shape))
    for term in (
        "hamiltonian", "hamiltonian_square", "lowdin", "spectrum", "density", "charges", "bond_orders",
    ):  # fmt: skip
        with pytest.raises(SettingError, match=f"^{term} compare matrices or shares of atoms"):
            loss_terms(prediction, batch, [term])
    assert set(loss_terms(prediction, batch, UPSCALED)) == set(UPSCALED)


def test_a_model_basis_that_is_the_labels_own_or_none_of_pyscfs(labels, tmp_path):
    source = open_labels(labels)
    same = MoleculeDataset(source, baseline=SAP, cache=tmp_path, model_basis="DEF2-SVP")
    assert same[0].has_matrix
    with pytest.raises(BasisError, match="no basis 'sto-33g'"):
        MoleculeDataset(source, model_basis="sto-33g")


def test_small_and_large_basis_do_not_share_a_cache(labels, data, tmp_path):
    source = open_labels(labels)
    options = {"baseline": SAP, "cache": tmp_path}
    plain = MoleculeDataset(source, **options).prepare()
    small = MoleculeDataset(source, model_basis="sto-3g", **options).prepare()
    assert len(list(tmp_path.glob("*.cache"))) == 3  # H0 of each, and position integrals of one
    assert plain[0].targets is None
    assert len(plain[0].overlap) > len(small[0].overlap)
    again = MoleculeDataset(source, model_basis="sto-3g", **options)[2]
    torch.testing.assert_close(again.targets.levels, small[2].targets.levels, equal_nan=True)
    torch.testing.assert_close(again.targets.polarizability, small[2].targets.polarizability)


def test_a_trained_model_says_that_its_matrix_is_an_effective_one(labels, tmp_path):
    divided = tmp_path / "divided.h5"
    with LabelWriter(divided, LARGE) as writer:
        for label, split in zip(open_labels(labels), ("train", "val"), strict=False):
            writer.add(replace(label, split=split))
    data = DataSettings(train=(str(divided),), baseline=SAP, model_basis="sto-3g")
    first = stage("hamiltonian", epochs=1, weights=LossWeights(levels=1.0, dipole=0.1), batch_load=10)
    path = train(replace(recipe(divided, tmp_path / "run", first), data=data))
    level = read_checkpoint(path).level
    assert (level.basis, level.label_basis) == ("sto-3g", "def2-svp")
    calc, atoms = HELMCalculator(str(path)), molecule("H2CO")
    assert len(calc.get_hamiltonian(atoms)) == 12
    assert calc.get_eigenvalues().shape == (12,)
    with pytest.raises(SettingError, match="effective one in sto-3g with the orbital energies of def2-svp"):
        calc.refine(1)
