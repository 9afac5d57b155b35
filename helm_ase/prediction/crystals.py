"""Predictions for periodic ``Atoms``: energy, forces, stress, H(T) and bands."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from ase.dft.kpoints import BandPath
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from helm_ase.checkpoint import Checkpoint
from helm_ase.electronic.band_levels import levels_at
from helm_ase.electronic.band_populations import band_populations, electrons_of_groups
from helm_ase.electronic.bands import Bands
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import PredictionError, SettingError, StructureError
from helm_ase.nn import HELM
from helm_ase.representation.box import refuse_periodic_vacuum
from helm_ase.representation.graph import AtomicGraph
from helm_ase.representation.kpoints import KMesh, band_path
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.system.torch_state import own_torch_state
from helm_ase.units import HARTREE_IN_EV

Grouping = Literal["atom", "element", "degree"]

MOST_KEPT = 6
"""Solutions that are kept: levels, and populations by atom, element and degree, of a mesh or two."""

SAME_CELL = 1e-3
"""Å²: largest difference of scalar products of lattice vectors in cells that count as the same."""

DENSITY = 3.5
"""Least density of the k-point mesh by default, in points per 1/Å, as in ASE."""
HEXAGONAL = 0.1
"""Largest deviation of the ratio of two lengths from 1, and of a cosine from ±1/2, in a lattice that counts
as hexagonal."""


@dataclass(frozen=True)
class CrystalEnergy:
    """Energy, forces and stress of a crystal from one evaluation of the network."""

    energy: float
    """eV per cell."""
    forces: NDArray[np.float64] | None
    """eV/Å, (N, 3)."""
    stress: NDArray[np.float64] | None
    """eV/Å³, (3, 3), positive under tension."""


def predict_crystal_energy(
    model: HELM,
    atoms: Atoms,
    forces: bool = False,
    stress: bool = False,
    recompute: bool | None = None,
) -> CrystalEnergy:
    """Energy, and forces and stress if asked for; ``recompute`` is that of the network.

    Raises
    ------
    StructureError
        If the stress is asked for and the cell has no volume.
    PredictionError
        If the network returns a number that is not finite.
    """
    if stress and not abs(atoms.cell.volume) > 0:
        raise StructureError(
            "stress is energy per volume, and the cell has none: give it three lattice vectors, those of the "
            "vacuum included"
        )
    with own_torch_state(model.energy_reference.device), torch.inference_mode(False):
        out = model(graph_of(model, atoms), energy=True, forces=forces, stress=stress, recompute=recompute)
    energy = float(out.energy.detach())
    derivatives = [None if x is None else x.detach().double().cpu().numpy() for x in (out.forces, out.stress)]
    if not all(np.isfinite(x).all() for x in (energy, *derivatives) if x is not None):
        raise PredictionError("the network returned a number that is not finite for this crystal")
    tension = derivatives[1]
    if tension is not None:  # per volume of the cell as ASE has it, vacuum included
        tension = tension[0] * Lattice.of_atoms(atoms).volume / abs(atoms.cell.volume)
    return CrystalEnergy(energy, derivatives[0], tension)


def graph_of(model: HELM, atoms: Atoms) -> AtomicGraph:
    """Graph of a crystal on the model's device."""
    graph = AtomicGraph.from_arrays(
        atoms.numbers, atoms.positions, model.cutoff, lattice=Lattice.of_atoms(atoms)
    )
    placed: AtomicGraph = graph.to(model.energy_reference.device)
    return placed


@dataclass(frozen=True)
class CrystalPrediction:
    """H(T) and S(T) of a crystal, and what follows from them."""

    atoms: Atoms
    hamiltonian: RealSpaceMatrix
    """Hartree, PySCF AO order."""
    overlap: RealSpaceMatrix
    electrons: int
    """Number of electrons of a cell, without those of pseudopotentials."""
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What was solved for meshes; threads may share it."""

    @cached_property
    def lattice(self) -> Lattice:
        """Lattice of the atoms."""
        return Lattice.of_atoms(self.atoms)

    @cached_property
    def operators(self) -> tuple[LatticeOperator, LatticeOperator]:
        """H and S as tensors."""
        return LatticeOperator.of(self.hamiltonian), LatticeOperator.of(self.overlap)

    def bands(self, mesh: KMesh, width: float) -> Bands:
        """Levels and filling on a mesh; ``width`` of the Fermi smearing in Hartree."""
        h, s = self.operators
        found: Bands = self._kept(
            mesh, ("bands", width), lambda: Bands.solve([h], s, mesh, self.electrons, width)
        )
        return found

    def populations(self, mesh: KMesh, by: Grouping = "atom") -> tuple[list[str], Tensor]:
        """Mulliken populations of the levels of a mesh.

        Parameters
        ----------
        mesh
            Points.
        by
            ``atom``, ``element`` or ``degree`` (s, p, d …) of the functions.

        Returns
        -------
        names
            One name for each of the G groups, e.g. ``C0``, ``C`` or ``p``.
        populations
            (1, K, G, A).

        Raises
        ------
        SettingError
            If there is no such grouping.
        """
        names, group = self._groups(by)
        h, s = self.operators
        return names, self._kept(
            mesh, by, lambda: band_populations([h], s, mesh.kpts, torch.from_numpy(group))
        )

    def _kept(self, mesh: KMesh, name: Hashable, solve: Callable[[], Any]) -> Any:
        """What ``solve`` gives, solved once for the last few meshes."""
        found = self._known.get((mesh, name))
        if found is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[mesh, name] = found = solve()
        return found

    def _groups(self, by: Grouping) -> tuple[list[str], NDArray[np.int64]]:
        """Names of the groups, and the group of every function, (A,)."""
        basis, numbers = self.hamiltonian.basis, self.hamiltonian.numbers
        atom = basis.atoms_of_functions(numbers)
        if by == "atom":
            return [f"{chemical_symbols[z]}{k}" for k, z in enumerate(numbers)], atom
        if by == "element":
            elements, place = np.unique(numbers, return_inverse=True)
            return [chemical_symbols[z] for z in elements], place[atom]
        if by == "degree":
            degree = np.array([l for l in basis.degrees(numbers) for _ in range(2 * l + 1)])
            return list("spdfgh"[: degree.max() + 1]), degree
        raise SettingError(f"by={by!r} is no grouping; there are {', '.join(get_args(Grouping))}")

    def charges(self, mesh: KMesh, width: float) -> NDArray[np.float64]:
        """Mulliken charges, e, (N,)."""
        _, populations = self.populations(mesh)
        numbers, basis = self.hamiltonian.numbers, self.hamiltonian.basis
        electrons = electrons_of_groups(self.bands(mesh, width), populations).numpy()
        return np.asarray([basis.electrons([z]) for z in numbers] - electrons)

    def levels(self, kpts: ArrayLike | Tensor) -> NDArray[np.float64]:
        """Levels at fractional k points, eV, (K, A)."""
        return levels_at(*self.operators, kpts).numpy() * HARTREE_IN_EV

    def path(self, path: str | BandPath | None, points: int) -> BandPath:
        """Path through the Brillouin zone: the given one, by names of special points, or ASE's standard one.

        Raises
        ------
        SettingError
            If the lattice has no special points of these names, or the path is that of another cell.
        """
        if not isinstance(path, BandPath):
            return band_path(self.lattice, path, points)
        periodic = self.lattice.pbc
        ours, theirs = self.lattice.cell[periodic], path.cell.array[periodic]
        if np.abs(ours @ ours.T - theirs @ theirs.T).max() > SAME_CELL:
            raise SettingError(
                "the band path is that of another cell than the atoms', in which its fractions are other k "
                "points: make it with atoms.cell.bandpath(…)"
            )
        return path


def predict_crystal(model: HELM, checkpoint: Checkpoint, atoms: Atoms) -> CrystalPrediction:
    """Predict H(T) = H0(T) + ΔH(T).

    Raises
    ------
    PredictionError
        If a matrix element is not finite.
    StructureError
        If a periodic direction is really vacuum.
    """
    from helm_ase.qc.crystal import build_content
    from helm_ase.qc.crystal_baseline import crystal_hamiltonian

    refuse_periodic_vacuum(atoms)
    with own_torch_state(model.energy_reference.device), torch.inference_mode(False), torch.no_grad():
        graph = graph_of(model, atoms)
        out = model(graph, energy=False, hamiltonian=True)
    basis, lattice = checkpoint.basis, Lattice.of_atoms(atoms)
    correction = out.correction[:, 0].double().cpu().numpy()
    if not np.isfinite(correction).all():
        raise PredictionError("the network returned a Hamiltonian that is not finite for this crystal")
    content = build_content(atoms.numbers, atoms.positions, checkpoint.level)
    h0, s = crystal_hamiltonian(content, lattice, basis, checkpoint.baseline.operators)
    added = RealSpaceMatrix(graph.translation.cpu().numpy(), correction, h0.numbers, basis)
    h = (h0 + added).reorder("pyscf")
    return CrystalPrediction(atoms.copy(), h, s.reorder("pyscf"), basis.electrons(atoms.numbers))


def mesh_of(kpts: Any, lattice: Lattice) -> KMesh:
    """Mesh of k points for a value of the calculator's keyword ``kpts``.

    Parameters
    ----------
    kpts
        None (:data:`DENSITY` and edges of the zone), three numbers, or ``{"size": …}`` or
        ``{"density": …}``, with ``"gamma"`` True (as here by default) or False (Monkhorst and Pack's mesh,
        off Γ where a number is even).
    lattice
        Directions without periodicity have one point.

    Raises
    ------
    SettingError
        If it stands for none.
    """
    if kpts is None:
        return _with_edges(KMesh.of_density(lattice, DENSITY), lattice)
    given: dict[str, Any] = dict(kpts) if isinstance(kpts, Mapping) else {"size": tuple(kpts)}
    gamma = given.pop("gamma", None)
    if set(given) == {"density"}:
        size = KMesh.of_density(lattice, float(given["density"])).size
    elif set(given) == {"size"}:
        size = KMesh.gamma_centred(given["size"]).size
    else:
        raise SettingError(
            f"kpts is {kpts!r}; allowed are None, three numbers, and {{'size': …}} or {{'density': …}} with "
            f"'gamma'; a path goes to band_structure(path)"
        )
    points = np.where(lattice.pbc, size, 1).tolist()
    return KMesh.monkhorst_pack(points) if gamma is False else KMesh.gamma_centred(points)


def _with_edges(mesh: KMesh, lattice: Lattice) -> KMesh:
    """The mesh, made finer until it holds halves of reciprocal vectors, which lie on faces and edges of the
    zone, and, where two vectors are those of a hexagonal lattice, thirds: bands of graphene touch there only.
    """
    steps = np.where(lattice.pbc, 2, 1)
    lengths = np.linalg.norm(lattice.complete, axis=1)
    cosines = np.abs(lattice.complete @ lattice.complete.T) / np.outer(lengths, lengths)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        alike = abs(lengths[a] / lengths[b] - 1) < HEXAGONAL and abs(cosines[a, b] - 0.5) < HEXAGONAL
        if lattice.pbc[a] and lattice.pbc[b] and alike:
            steps[[a, b]] = 6
    return KMesh.gamma_centred((-(-np.array(mesh.size) // steps) * steps).tolist())
