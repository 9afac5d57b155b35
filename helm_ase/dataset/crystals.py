"""Training sample of one crystal: graph, baseline and targets.

ΔH(T) = H(T) − H0(T) comes from ΔF(k) on the label's mesh.  H0(T) is known exactly, at any k, so only the
small rest passes through the mesh and its images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from helm_ase.electronic.bloch import LatticeOperator, inverse_bloch_sum
from helm_ase.errors import DatasetError
from helm_ase.qc.crystal import build_content, crystal_basis
from helm_ase.qc.crystal_baseline import crystal_hamiltonian
from helm_ase.qc.crystal_operator_fit import CrystalOperatorFit
from helm_ase.representation import AOBasis
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.graph import AtomicGraph
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.ordering import reordering
from helm_ase.representation.real_space_matrix import RealSpaceMatrix


@dataclass(frozen=True)
class CrystalSample:
    """Graph and targets of one crystal; matrices in canonical AO order, Hartree."""

    name: str
    graph: AtomicGraph
    correction: Tensor
    """ΔH(T) of the graph's translations, (n_T, A, A), float64; zero where no pair is within the cutoff."""
    within: Tensor
    """Elements of atoms and of pairs within the cutoff, (n_T, A, A), bool."""
    rest: LatticeOperator
    """ΔH(T) of all images of the label's mesh, also beyond the cutoff."""
    baseline: LatticeOperator
    """H0(T)."""
    overlap: LatticeOperator
    """S(T)."""
    electrons: int
    """Valence electrons of a cell."""
    energy: float
    """Free energy, whose derivatives are forces and stress, eV per cell; NaN if the label has none."""
    forces: Tensor
    """eV/Å, (N, 3); NaN if the label has none."""
    stress: Tensor
    """eV/Å³, (3, 3); NaN if the label has none."""

    @property
    def load(self) -> int:
        """Atoms and pairs: what the network's time goes with."""
        return self.graph.load

    def reference(self, kpts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """H, S and ΔH of the label at any k points, fractional (K, 3); complex, (K, A, A) each."""
        rest = self.rest.at(kpts)
        return self.baseline.at(kpts) + rest, self.overlap.at(kpts), rest


def fit_crystal_operators(
    labels: Sequence[LabelledCrystal], level: LevelOfTheory, limit: int = 40
) -> tuple[AtomicOperator, ...]:
    """Operators for which H0(T) is nearest to the H(T) of some labels: ``limit`` of them, spread over the
    list, and one more for each element that these lack.

    Raises
    ------
    DatasetError, BasisError
        If there are none, or they do not fit their basis.
    """
    fit = CrystalOperatorFit()
    basis = crystal_basis(level, sorted({z for x in labels for z in x.numbers.tolist()}))
    for label in _spread(labels, limit):
        matrices = fock_in_canonical_order(label, basis)
        images = _to_images(label, basis, matrices)
        h = RealSpaceMatrix(images.translations.numpy(), images.values.numpy(), label.numbers, basis)
        content = build_content(label.numbers, label.positions, level)
        fit.add(content, label.lattice, basis, h)
    return fit.solve()


def _spread(labels: Sequence[LabelledCrystal], limit: int) -> list[LabelledCrystal]:
    """Some labels of a list, all over it, among which every element occurs."""
    places = dict.fromkeys(
        np.linspace(0, len(labels) - 1, min(limit, len(labels))).round().astype(int).tolist()
    )
    seen = {z for k in places for z in labels[k].numbers.tolist()}
    for k, label in enumerate(labels):
        if not seen.issuperset(label.numbers.tolist()):
            places[k] = None
            seen.update(label.numbers.tolist())
    return [labels[k] for k in places]


def make_crystal_sample(
    label: LabelledCrystal,
    level: LevelOfTheory,
    basis: AOBasis,
    operators: Sequence[AtomicOperator],
    cutoff: float,
) -> CrystalSample:
    """Turn a label into tensors.

    Parameters
    ----------
    label
        F(k) in PySCF's AO order.
    level
        Level of theory of the label.
    basis
        Basis of the level, for all elements of the model.
    operators
        Operators of H0.
    cutoff
        Largest distance of a pair, Å.

    Raises
    ------
    DatasetError
        If the matrices do not fit the basis.
    """
    matrices = fock_in_canonical_order(label, basis)
    content = build_content(label.numbers, label.positions, level)
    h0, s = crystal_hamiltonian(content, label.lattice, basis, operators)
    baseline, overlap = LatticeOperator.of(h0), LatticeOperator.of(s)
    rest = _to_images(label, basis, matrices - baseline.at(label.k_mesh.kpts))
    graph = AtomicGraph.from_arrays(label.numbers, label.positions, cutoff, lattice=label.lattice)
    within = pairs_within(graph, basis)
    absent = np.full((len(label.numbers), 3), np.nan)
    energy = label.energy if label.free_energy is None else label.free_energy
    return CrystalSample(
        name=label.name,
        graph=graph,
        correction=_at_slots(rest, graph) * within,
        within=within,
        rest=rest,
        baseline=baseline,
        overlap=overlap,
        electrons=basis.electrons(label.numbers),
        energy=float("nan") if energy is None else energy,
        forces=torch.from_numpy(absent if label.forces is None else label.forces),
        stress=torch.from_numpy(np.full((3, 3), np.nan) if label.stress is None else label.stress),
    )


def fock_in_canonical_order(label: LabelledCrystal, basis: AOBasis) -> Tensor:
    """F(k) in canonical AO order, (K, A, A)."""
    size = basis.size(label.numbers)
    if label.fock.shape[-1] != size:
        raise DatasetError(
            f"entry {label.name}: F(k) has {label.fock.shape[-1]} functions, {basis.name} has {size}"
        )
    index, sign = reordering(basis.degrees(label.numbers), "pyscf", "e3nn")
    return torch.from_numpy(label.fock[:, index[:, None], index] * np.outer(sign, sign))


def _to_images(label: LabelledCrystal, basis: AOBasis, matrices: Tensor) -> LatticeOperator:
    atom = torch.from_numpy(basis.atoms_of_functions(label.numbers))
    return inverse_bloch_sum(matrices, label.k_mesh, label.lattice, label.positions, atom)


def pairs_within(graph: AtomicGraph, basis: AOBasis) -> Tensor:
    """Elements of atoms and of listed pairs, for the graph's translations, (n_T, A, A), bool."""
    numbers = graph.z.numpy()
    atoms = len(numbers)
    blocks = torch.zeros(len(graph.translation), atoms, atoms, dtype=torch.bool)
    i, j = graph.pair_index
    blocks[graph.slot, i, j] = True
    blocks[graph.partner[graph.slot], j, i] = True
    blocks[graph.home[0], range(atoms), range(atoms)] = True
    atom = torch.from_numpy(basis.atoms_of_functions(numbers))
    return blocks[:, atom][:, :, atom]


def _at_slots(operator: LatticeOperator, graph: AtomicGraph) -> Tensor:
    """Blocks of the graph's translations, (n_T, A, A); zero where there are none."""
    places = {tuple(t): k for k, t in enumerate(operator.translations.tolist())}
    padded = torch.cat([operator.values, torch.zeros_like(operator.values[:1])])
    return padded[[places.get(tuple(t), -1) for t in graph.translation.tolist()]]
