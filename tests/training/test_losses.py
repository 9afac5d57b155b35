"""Losses: zero for the perfect prediction, exact gradients, sums that add up."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from helm_ase.dataset.batch import collate
from helm_ase.errors import SettingError
from helm_ase.nn import Prediction, apply_factor, trust_matrix
from helm_ase.qc.level import kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.representation.overlap import symmetric_root
from helm_ase.training.losses import LossWeights, Term, loss_terms, term_value, total_loss
from helm_ase.training.observables import OBSERVABLES
from shared.labelled_samples import (
    batch_of,
    broken_sample,
    labelled,
    noise,
    padded,
    rotated,
    sample,
    sample_of,
    values_of,
)
from shared.rotations import rotation
from shared.sample_labels import TINY

pytestmark = pytest.mark.scf

OF_MATRICES = ("hamiltonian", "hamiltonian_square", "lowdin", "spectrum")
SMOOTH = ("hamiltonian_square", *OBSERVABLES)
"""Terms without a kink at every element that is zero."""
ALL = tuple(f.name for f in fields(LossWeights))


def derivative_along(function, point, direction, step):
    """Five-point finite difference."""
    values = [function(point + k * step * direction) for k in (-2, -1, 1, 2)]
    return float(values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


def gradient(name, point, batch):
    point = point.clone().requires_grad_()
    return torch.autograd.grad(values_of(point, batch, name)[name], point)[0]


def degenerate_point(s):
    """A ΔH that makes three occupied and three virtual levels of methane coincide exactly."""
    x = s.targets.orthogonaliser
    energies, vectors = torch.linalg.eigh(x.T @ s.baseline @ x)
    energies[2:5], energies[6:9] = energies[3].clone(), energies[7].clone()
    back = torch.linalg.inv(x)
    h = back.T @ vectors @ torch.diag(energies) @ vectors.T @ back
    return (0.5 * (h + h.T) - s.baseline)[None, None]


def point_of(name):
    """Molecule, and a prediction whose levels coincide where the molecule has a symmetry that says so."""
    if name == "exact":
        return sample("CH4"), degenerate_point(sample("CH4"))
    s = sample(name)
    if name == "H2O":
        return s, 0.5 * s.correction.double()[None] + noise(s.correction.shape, 0.01)
    return s, torch.zeros_like(s.correction, dtype=torch.float64)[None]  # H0, which has the symmetry


SETS = {"CH4": slice(2, 5), "C6H6": slice(19, 23), "exact": slice(2, 5)}
"""Levels that coincide: their sum has a derivative, each alone has none."""


def away_from_kinks(s, name):
    """The same with other targets: where symmetry makes an error zero its length has no derivative."""
    t, only = s.targets, torch.full_like(s.targets.levels, torch.nan)
    kept = SETS.get(name, slice(None))
    only[:, kept] = t.levels[:, kept]
    t = replace(t, levels=only)
    shift = {"levels": 2.0, "populations": 0.5, "bond_orders": 0.5}
    dipole = t.dipole + torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    moved = {k: getattr(t, k) - v for k, v in shift.items()}
    return replace(s, targets=replace(t, dipole=dipole, **moved))


MOLECULES = ("H2O", "CH4", "C6H6", "exact", "CH3", "O2")
CASES = [(name, term) for name in MOLECULES for term in SMOOTH if term != "gap" or name in ("H2O", "CH3")]
"""The gap has a derivative only where HOMO and LUMO coincide with no other level."""


@pytest.mark.parametrize(("name", "term"), CASES)
def test_gradients_equal_finite_differences_also_where_levels_coincide(name, term):
    s, point = point_of(name)
    batch = batch_of(away_from_kinks(s, name))
    found = gradient(term, point, batch)
    for seed in (1, 2):
        direction = noise(point.shape, 1.0, seed)
        direction /= direction.norm()
        numeric = derivative_along(lambda h: values_of(h, batch, term)[term], point, direction, 3e-4)
        assert float((found * direction).sum()) == pytest.approx(numeric, rel=1e-6, abs=1e-7)


def test_single_levels_have_exact_gradients_where_they_do_not_coincide():
    s, point = point_of("H2O")
    for k in range(s.targets.levels.shape[1]):
        only = torch.full_like(s.targets.levels, torch.nan)
        only[:, k] = s.targets.levels[:, k]
        batch = batch_of(replace(s, targets=replace(s.targets, levels=only)))
        found = gradient("levels", point, batch)
        direction = noise(point.shape, 1.0, k)
        numeric = derivative_along(
            lambda h, b=batch: values_of(h, b, "levels")["levels"], point, direction, 1e-4
        )
        assert float((found * direction).sum()) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize("term", [*OF_MATRICES, *OBSERVABLES])
def test_a_perfect_correction_has_no_error(term):
    for name in ("H2O", "CH4", "CH3", "O2"):
        s = sample(name)
        assert float(values_of(s.correction[None], batch_of(s), term)[term]) == pytest.approx(0, abs=1e-9)


def test_the_root_mean_square_has_a_finite_gradient_at_zero():
    s = sample("H2O")
    assert torch.isfinite(gradient("hamiltonian_square", s.correction.double()[None], batch_of(s))).all()


@pytest.mark.parametrize("term", [*OF_MATRICES, *OBSERVABLES])
def test_totals_and_counts_of_a_batch_are_the_sums_of_its_parts_whatever_the_padding(term):
    samples = [sample(k) for k in ("H2O", "CH4", "CH3", "O2", "C6H6")]
    whole = collate(samples)
    size = whole.correction.shape[-1]
    guesses = [
        0.8 * s.correction.double() + noise(s.correction.shape, 1e-3, k) for k, s in enumerate(samples)
    ]
    stacked = torch.cat([padded(g.expand(2, -1, -1), size) for g in guesses])
    terms = loss_terms(Prediction(None, None, stacked), whole, [term])[term]
    singles = [
        loss_terms(Prediction(None, None, g[None]), collate([s]), [term])[term]
        for g, s in zip(guesses, samples, strict=True)
    ]
    assert float(terms.total) == pytest.approx(sum(float(t.total) for t in singles), rel=1e-6)
    assert float(terms.count) == sum(float(t.count) for t in singles)
    assert terms.total.dtype == terms.count.dtype == torch.float64
    assert terms.total.shape == terms.count.shape == ()
    assert not terms.count.requires_grad


@pytest.mark.parametrize("term", [*OF_MATRICES, *OBSERVABLES])
def test_what_is_predicted_in_the_padding_does_not_matter(term):
    samples = [sample("H2O"), sample("CH4")]
    batch = collate(samples)
    guess = torch.zeros_like(batch.correction, dtype=torch.float64).requires_grad_()
    (found,) = torch.autograd.grad(values_of(guess, batch, term)[term], guess)
    assert (found[0, :, 7:] == 0).all()
    assert (found[0, :, :, 7:] == 0).all()


@pytest.mark.parametrize("term", list(OBSERVABLES))
def test_terms_do_not_change_and_gradients_turn_with_the_molecule(term):
    for name in ("H2O",) if term == "dipole" else ("H2O", "CH4"):  # methane has no dipole
        operation = rotation(4)
        label, turn = rotated(labelled(name), operation)
        turn = torch.from_numpy(turn)
        s, t = sample(name), sample_of(label)
        point = torch.zeros_like(s.correction, dtype=torch.float64)[None]
        batches = batch_of(s), batch_of(t)
        here, there = (values_of(point, b, term)[term] for b in batches)
        assert float(here) == pytest.approx(float(there), rel=1e-5)
        first, second = (gradient(term, point, b) for b in batches)
        assert torch.isfinite(first).all()
        torch.testing.assert_close(
            second, turn @ first @ turn.T, rtol=0, atol=2e-5 * float(first.abs().max())
        )


def test_levels_that_have_crossed_are_not_taken_for_each_other():
    s = sample("H2O")
    t = s.targets
    h = s.baseline + s.correction.double()[0]
    x = t.orthogonaliser
    energies, vectors = torch.linalg.eigh(x.T @ h @ x)
    assert float(energies[4] - energies[3]) > 0.05
    moved = energies.clone()
    moved[3], moved[4] = energies[4] + 0.001, energies[3] - 0.002  # each an error of about the distance
    back = torch.linalg.inv(x)
    guess = back.T @ vectors @ torch.diag(moved) @ vectors.T @ back - s.baseline
    found = values_of(guess[None, None], batch_of(s), "levels")["levels"] * 2e-3 * len(energies)
    assert float(found) == pytest.approx(float((moved - energies).abs().sum()), rel=1e-8)


def test_levels_that_nearly_coincide_may_change_their_order():
    s = sample("CH4")
    point = degenerate_point(s)
    x = s.targets.orthogonaliser
    split = point.clone()
    _, vectors = torch.linalg.eigh(x.T @ (s.baseline + point[0, 0]) @ x)
    c = s.overlap @ x @ vectors
    values = []
    for shift in (1e-6, -1e-6):
        split = point + shift * torch.outer(c[:, 2], c[:, 2]) - shift * torch.outer(c[:, 3], c[:, 3])
        values.append(float(values_of(split, batch_of(s), "levels")["levels"]))
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_targets_are_what_pyscf_finds_for_the_labels_matrix():
    for name in ("H2O", "O2"):
        label, s = labelled(name), sample(name)
        mole = build_mole(label.numbers, label.positions, TINY.basis, label.charge, label.multiplicity)
        mf = kohn_sham(mole, TINY)
        energies, orbitals = mf.eig(label.hamiltonian, mf.get_ovlp())
        mf.mo_energy, mf.mo_coeff, mf.mo_occ = energies, orbitals, mf.get_occ(energies, orbitals)
        density = mf.make_rdm1()
        nuclei = mole.atom_charges() @ mole.atom_coords()
        dipole = mf.dip_moment(dm=density, unit="AU", verbose=0)
        np.testing.assert_allclose(s.targets.dipole, dipole - nuclei, atol=2e-5)
        _, charges = mf.mulliken_pop(dm=density, verbose=0)
        np.testing.assert_allclose(mole.atom_charges() - s.targets.populations.numpy(), charges, atol=2e-5)
        first = mole.aoslice_by_atom()[:, 2:]
        shares = density.reshape(-1, mole.nao, mole.nao) @ mf.get_ovlp()  # D S of each spin
        blocks = [[shares[:, slice(*a), slice(*b)] for b in first] for a in first]
        orders = [[len(shares) * (blocks[a][b] * blocks[b][a].swapaxes(1, 2)).sum() * (a != b)
                   for b in range(len(first))] for a in range(len(first))]  # fmt: skip
        np.testing.assert_allclose(s.targets.bond_orders, orders, atol=2e-5)
        sizes = first[:, 1] - first[:, 0]
        assert s.targets.atom.tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()
    assert float(sample("H2O").targets.bond_orders[0, 1]) == pytest.approx(0.95, abs=0.05)
    assert float(sample("O2").targets.bond_orders[0, 1]) == pytest.approx(2.0, abs=0.05)


def test_the_coupled_polarizability_is_a_target_only_where_one_says_so():
    label = labelled("H2O", polarizability=True)
    plain, coupled = sample_of(label).targets, sample_of(label, coupled=True).targets
    assert (plain.coupled, coupled.coupled) == (False, True)
    np.testing.assert_allclose(coupled.polarizability, label.polarizability)
    assert float(plain.polarizability.trace()) > 1.1 * float(coupled.polarizability.trace())
    bare = sample_of(replace(label, polarizability=None), coupled=True)
    guess = torch.zeros_like(bare.correction, dtype=torch.float64)[None].requires_grad_()
    term = loss_terms(Prediction(None, None, guess), batch_of(bare), ["polarizability"])["polarizability"]
    assert (float(term.total.detach()), float(term.count)) == (0.0, 0.0)
    (found,) = torch.autograd.grad(term_value("polarizability", *term), guess)
    assert (found == 0).all()


@pytest.mark.parametrize("term", [*OF_MATRICES, *OBSERVABLES])
def test_the_trust_filter_acts_before_every_term(term):
    s = sample("H2O")
    w = trust_matrix(s.overlap, 0.05)
    guess = 0.5 * s.correction.double()
    filtered = values_of(apply_factor(guess, w)[None], batch_of(s), term)[term]
    found = values_of(guess[None], batch_of(s, factors=[w.float()]), term)[term]
    assert float(found) == pytest.approx(float(filtered), rel=1e-5)


def test_an_output_in_the_orthogonal_basis_goes_through_the_filter():
    """H = H0 + S^½ Δ S^½: the root of S takes the place of the trust filter."""
    s = sample("H2O")
    root = symmetric_root(s.overlap)
    torch.testing.assert_close(root @ root, s.overlap, rtol=0, atol=1e-12)
    inverse = torch.linalg.inv(root)
    orthogonal = inverse @ s.correction.double() @ inverse
    batch = batch_of(s, factors=[root])
    for term, value in values_of(orthogonal[None], batch, *OF_MATRICES, *OBSERVABLES).items():
        assert float(value) < 1e-2, term  # the filter of a batch is in single precision
    shifted = orthogonal + 1e-3
    found = values_of(shifted[None], batch, "lowdin")["lowdin"]
    assert float(found) == pytest.approx(1.0, rel=1e-4)  # the error in the basis of the output, unit 1 mEh


def test_energies_and_forces_that_a_label_lacks_do_not_count():
    with_both = sample("H2O")
    bare = replace(sample("CH4"), energy=float("nan"), forces=torch.full((5, 3), torch.nan))
    energy = torch.tensor([with_both.energy + 3.0, 7.0], dtype=torch.float64, requires_grad=True)
    forces = torch.zeros(8, 3, requires_grad=True)
    terms = loss_terms(Prediction(energy, forces, None), batch_of(with_both, bare), ["energy", "forces"])
    assert float(terms["energy"].total.detach()) == pytest.approx(3.0 / 3 / 0.01)
    assert [float(terms[k].count) for k in ("energy", "forces")] == [1.0, 3.0]
    found = torch.autograd.grad(sum(t.total for t in terms.values()), (energy, forces))
    assert all(torch.isfinite(g).all() for g in found)
    assert found[0][1] == 0
    none = loss_terms(Prediction(energy[1:], forces, None), batch_of(bare), ["energy"])["energy"]
    assert float(term_value("energy", *none).detach()) == 0.0


def test_a_prediction_that_is_not_finite_is_not_mistaken_for_a_good_one():
    s = sample("H2O")
    guess = torch.full_like(s.correction, torch.nan)[None]
    for term, value in values_of(guess, batch_of(s), *OF_MATRICES, *OBSERVABLES).items():
        assert not torch.isfinite(value), term


def test_lower_precision_of_the_network_does_not_reach_the_losses():
    s = sample("H2O")
    guess = (0.5 * s.correction).bfloat16()[None]
    exact = values_of(guess.float(), batch_of(s), *OF_MATRICES, *OBSERVABLES)
    with torch.autocast("cpu", torch.bfloat16):
        found = values_of(guess, batch_of(s), *OF_MATRICES, *OBSERVABLES)
    for term, value in found.items():
        assert float(value) == pytest.approx(float(exact[term]), rel=1e-6), term


def test_only_what_is_wanted_is_computed_and_weights_say_what_is_needed():
    s = sample("H2O")
    bare = batch_of(replace(s, targets=None))
    prediction = Prediction(None, None, s.correction[None])
    assert set(loss_terms(prediction, bare, ["hamiltonian"])) == {"hamiltonian"}
    with pytest.raises(SettingError, match="gap need a data set opened with observables=True"):
        loss_terms(prediction, bare, ["gap"])
    with pytest.raises(SettingError, match="unknown loss terms spectra; there are hamiltonian"):
        loss_terms(prediction, bare, ["spectra"])
    with pytest.raises(SettingError, match="dipole need ΔH, which was not predicted"):
        loss_terms(Prediction(None, None, None), batch_of(s), ["dipole"])
    with pytest.raises(SettingError, match="loss weight gap=-1: weights are 0 or more"):
        LossWeights(gap=-1)
    plain, joint = LossWeights(hamiltonian=1.0), LossWeights(gap=1.0, forces=1.0)
    assert plain.wanted == ("hamiltonian",)
    assert (plain.needs_hamiltonian, plain.needs_energy, plain.needs_forces) == (True, False, False)
    assert joint.wanted == ("gap", "forces")
    assert (joint.needs_hamiltonian, joint.needs_energy, joint.needs_forces) == (True, True, True)
    assert (plain.needs_observables, joint.needs_observables) == (False, True)
    assert not LossWeights(energy=1.0).needs_hamiltonian


def test_values_are_means_and_the_loss_their_weighted_sum():
    total, count = torch.tensor(8.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    values = {"gap": term_value("gap", total, count)}
    values["hamiltonian_square"] = term_value("hamiltonian_square", *Term(total, count))
    assert [float(v) for v in values.values()] == [4.0, 6.0]
    assert float(total_loss(values, LossWeights(gap=0.5, hamiltonian_square=2.0))) == 14.0


def test_a_batch_moves_as_a_whole_and_the_old_one_stays():
    batch = batch_of(sample("H2O"), factors=[sample("H2O").overlap])
    there = batch.to("meta")
    tensors = [
        there.correction,
        there.output_factor,
        there.graph.pos,
        there.targets[0].position,
        there.targets[0].atom,
    ]
    assert {x.device.type for x in tensors} == {"meta"}
    assert batch.graph.pos.device.type == batch.targets[0].atom.device.type == "cpu"
    assert all(name in ALL for name in OBSERVABLES)


# --- singlets of broken symmetry ----------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_no_loss_of_the_hamiltonian_sees_a_singlet_of_broken_symmetry(first):
    good, broken = sample("H2O"), broken_sample("CH4")
    pair = [broken, good] if first else [good, broken]
    alone, both = batch_of(good), batch_of(*pair)
    size = both.correction.shape[-1]
    guess = 0.5 * good.correction.double() + noise(good.correction.shape, 0.01)
    other = noise((1, size, size), 1.0, seed=3)
    stacked = torch.cat([other[None], padded(guess, size)] if first else [padded(guess, size), other[None]])
    stacked.requires_grad_()
    terms = (*OF_MATRICES, *OBSERVABLES)
    found, wanted = values_of(stacked, both, *terms), values_of(guess[None], alone, *terms)
    for name in terms:
        assert found[name].item() == pytest.approx(float(wanted[name]), rel=1e-9), name
    slope = torch.autograd.grad(sum(found.values()), stacked)[0]
    assert not slope[0 if first else 1].any()
    assert slope[1 if first else 0].any()


def test_a_batch_of_broken_symmetry_alone_has_no_loss_of_the_hamiltonian():
    batch = batch_of(broken_sample("CH4"))
    values = values_of(noise(batch.correction.shape, 0.1), batch, *OF_MATRICES, *OBSERVABLES)
    assert all(float(value) < 1e-9 for value in values.values())


def test_its_energy_and_forces_are_learnt_as_any():
    good, broken = sample("CH4"), broken_sample("CH4")
    assert broken.energy == good.energy
    n = len(good.graph.z)
    guess = Prediction(energy=torch.tensor([good.energy + 1.0]), forces=good.forces + 0.1, correction=None)
    for s in (good, broken):
        terms = loss_terms(guess, batch_of(s), ("energy", "forces"))
        assert float(term_value("energy", *terms["energy"])) == pytest.approx(1.0 / n / 0.01, rel=1e-4)
        assert float(term_value("forces", *terms["forces"])) == pytest.approx(3**0.5, rel=1e-3)


def test_errors_of_its_hamiltonian_are_not_counted():
    from helm_ase.evaluation.errors import matrix_errors

    broken = broken_sample("CH4")
    assert not broken.has_matrix
    found = matrix_errors(broken, np.zeros((1, *broken.overlap.shape)), 0.5, 0.1)
    assert np.isnan(found.hamiltonian)
    assert np.isnan(found.gap)
    assert found.energy == pytest.approx(0.5 / 5)
