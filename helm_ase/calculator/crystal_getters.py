"""Methods of the calculator for periodic systems: stress, H(T), bands on meshes and along paths."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.dft.kpoints import BandPath
from ase.spectrum.band_structure import BandStructure
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import ArrayLike, NDArray

from helm_ase.calculator.copies import Copies, locked
from helm_ase.checkpoint import Checkpoint
from helm_ase.electronic.bands import Bands
from helm_ase.errors import SettingError, StructureError
from helm_ase.nn import HELM
from helm_ase.prediction import domain
from helm_ase.prediction.crystals import (
    CrystalPrediction,
    Grouping,
    mesh_of,
    predict_crystal,
    predict_crystal_energy,
)
from helm_ase.prediction.dispersion import add_to_crystal
from helm_ase.representation.kpoints import KMesh, as_tensor
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.units import HARTREE_IN_EV

if TYPE_CHECKING:
    from helm_ase.calculator.computation import LoadedModel
    from helm_ase.prediction.electronic import ElectronicPrediction
    from helm_ase.representation.energy_baseline import EnergyMethod

NEEDS_ATOMS = "no atoms yet: write atoms.calc = calc, or pass atoms="


class CrystalGetters(Copies):
    """Methods of :class:`~helm_ase.HELMCalculator` for systems with periodic directions."""

    if TYPE_CHECKING:  # of the calculator
        parameters: Any
        results: dict[str, Any]
        atoms: Atoms
        _crystal: CrystalPrediction | None
        _charged_with: str | None
        _loaded: LoadedModel | None
        _tight_binding: EnergyMethod | None

        def _solve(self, atoms: Atoms | None = None) -> "ElectronicPrediction": ...
        def _current(self, atoms: Atoms | None) -> Atoms | None: ...
        def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
            """See the calculator."""

        def reset(self) -> None:
            """See the calculator."""

        def calculate(
            self, atoms: Atoms | None, properties: Sequence[str], system_changes: Sequence[str]
        ) -> None:
            """See the calculator."""

    @property
    def ignored_changes(self) -> set[str]:
        """Changes that need no new calculation: for a molecule, those of the cell."""
        return set() if self.atoms is not None and self.atoms.pbc.any() else {"cell"}

    @ignored_changes.setter
    def ignored_changes(self, value: set[str]) -> None:
        """ASE's base class never sets it; nothing may."""
        raise SettingError("which changes of atoms count is not for callers to say")

    def _calculate_crystal(self, properties: Sequence[str], checkpoint: Checkpoint, model: HELM) -> None:
        """Fill the results of ``self.atoms``, which are known to be a crystal that the model takes."""
        atoms = self.atoms
        assert atoms is not None
        wanted = set(properties)
        if self.parameters["refine"]:
            raise SettingError("refine= is for molecules only, in this version: leave it out for crystals")
        if "dipole" in wanted:
            raise StructureError("dipole: of molecules only, in this version")
        if wanted & {"energy", "free_energy", "forces", "stress"}:
            domain.check_trained(checkpoint, "energy")
            prediction = predict_crystal_energy(
                model, atoms, "forces" in wanted, "stress" in wanted, self.parameters["recompute"]
            )
            prediction = add_to_crystal(prediction, atoms, self._tight_binding)
            self.results |= {"energy": prediction.energy, "free_energy": prediction.energy}
            if prediction.forces is not None:
                self.results["forces"] = prediction.forces
            if prediction.stress is not None:
                self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress)
        if wanted & {"hamiltonian", "charges"} and self._crystal is None:
            domain.check_trained(checkpoint, "hamiltonian")
            self._crystal = predict_crystal(model, checkpoint, atoms)
        if "charges" in wanted and self._crystal is not None:
            self._charged_with = self._filling_keywords()
            self.results["charges"] = self._crystal.charges(self._mesh(self._crystal), self._width)

    def _filling_keywords(self) -> str:
        """The keywords that charges depend on, beside those of the model."""
        return repr([self.parameters.get(name) for name in ("kpts", "smearing")])

    @locked
    def _solve_crystal(self, atoms: Atoms | None = None) -> CrystalPrediction:
        atoms = self._current(atoms)
        if atoms is None:
            raise StructureError(NEEDS_ATOMS)
        if not atoms.pbc.any():
            raise StructureError(
                "nothing is periodic here (atoms.pbc is False): a molecule has levels, but no band structure"
            )
        if changes := self.check_state(atoms):
            self.reset()
        if self._crystal is None:
            self.calculate(atoms, ["hamiltonian"], changes)
        assert self._crystal is not None
        return self._crystal

    # -- matrices -------------------------------------------------------------------------------------

    def get_real_space_hamiltonian(self, atoms: Atoms | None = None) -> RealSpaceMatrix:
        """H(T) in Hartree, PySCF AO order: matrix elements between cell 0 and the cell at each translation
        T."""
        return self._solve_crystal(atoms).hamiltonian

    def get_real_space_overlap(self, atoms: Atoms | None = None) -> RealSpaceMatrix:
        """S(T), PySCF AO order."""
        return self._solve_crystal(atoms).overlap

    def get_bloch_matrices(
        self, kpts: ArrayLike, atoms: Atoms | None = None
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """H(k) in Hartree and S(k) at fractional k points (K, 3); complex, (K, A, A), PySCF AO order."""
        h, s = self._solve_crystal(atoms).operators
        k = as_tensor(kpts)
        return h.at(k).numpy(), s.at(k).numpy()

    # -- levels ---------------------------------------------------------------------------------------

    @property
    def _width(self) -> float:
        """Width of the Fermi smearing, Hartree: that of the keyword (given in eV), or that of the labels."""
        given = self.parameters.get("smearing")
        return float(self.checkpoint.level.smearing if given is None else given / HARTREE_IN_EV)

    def get_bands(self, atoms: Atoms | None = None) -> Bands:
        """Levels, filling, Fermi level and density of states on the mesh of ``kpts`` (atomic units)."""
        prediction = self._solve_crystal(atoms)
        return prediction.bands(self._mesh(prediction), self._width)

    def get_band_populations(
        self, by: Grouping = "atom", atoms: Atoms | None = None
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Mulliken populations of the levels of :meth:`get_bands`.

        Parameters
        ----------
        by
            ``atom``, ``element``, or ``degree`` of the functions.
        atoms
            A crystal; None: the one at hand.

        Returns
        -------
        names
            One name for each of the G groups.
        populations
            (1, K, G, A), for ``get_bands().density_of_states(…, populations=…)``.

        Raises
        ------
        SettingError
            If there is no such grouping.
        StructureError
            If nothing is periodic.
        """
        prediction = self._solve_crystal(atoms)
        names, populations = prediction.populations(self._mesh(prediction), by)
        return names, populations.numpy().copy()

    def _mesh(self, prediction: CrystalPrediction) -> KMesh:
        return mesh_of(self.parameters.get("kpts"), prediction.lattice)

    def get_mesh_size(self, atoms: Atoms | None = None) -> tuple[int, int, int]:
        """Points of the mesh of ``kpts`` along each reciprocal vector."""
        return self._mesh(self._solve_crystal(atoms)).size

    def band_structure(
        self, path: str | BandPath | None = None, npoints: int = 100, atoms: Atoms | None = None
    ) -> BandStructure:
        """ASE's ``BandStructure`` along a path; its reference is the Fermi level of the mesh of ``kpts``.

        Parameters
        ----------
        path
            Special points as ``GMKG``, the result of ``atoms.cell.bandpath(…)``, or None: ASE's standard path
            of the lattice.
        npoints
            Number of k points of a path that is given by name.
        atoms
            Crystal; absent: that of the calculator.

        Raises
        ------
        StructureError
            If nothing is periodic.
        SettingError
            If the lattice has no special points of these names.
        """
        prediction = self._solve_crystal(atoms)
        way = prediction.path(path, npoints)
        fermi_level = prediction.bands(self._mesh(prediction), self._width).fermi_level * HARTREE_IN_EV
        return BandStructure(way, prediction.levels(way.kpts)[None], reference=fermi_level)

    def get_bz_k_points(self) -> NDArray[np.float64]:
        """All points of the mesh, fractional, −½ ≤ k < ½, ascending as in ASE's own meshes, (N, 3).

        A molecule has Γ alone.
        """
        mesh = self._whole_mesh()
        return np.zeros((1, 3)) if mesh is None else mesh.points.numpy()[mesh.ascending]

    def get_bz_to_ibz_map(self) -> NDArray[np.int64]:
        """Place among the irreducible points of each of :meth:`get_bz_k_points`, (N,)."""
        mesh = self._whole_mesh()
        return np.zeros(1, np.int64) if mesh is None else mesh.places[mesh.ascending]

    def _whole_mesh(self) -> KMesh | None:
        atoms = self._current(None)
        if atoms is None or not atoms.pbc.any():
            return None
        return self._mesh(self._solve_crystal(atoms))

    @locked
    def _outputmixin_get_results(self) -> dict[str, Any]:
        atoms = self._current(None)
        if atoms is None or not atoms.pbc.any():
            return self.results | self._of_molecule()
        prediction = self._solve_crystal(atoms)
        mesh = self._mesh(prediction)
        bands = prediction.bands(mesh, self._width)
        return self.results | {
            "eigenvalues": bands.levels.numpy() * HARTREE_IN_EV,
            "occupations": bands.occupations.numpy(),
            "fermi_level": bands.fermi_level * HARTREE_IN_EV,
            "nspins": 1,
            "nkpts": len(mesh.kpts),
            "nbands": bands.levels.shape[2],
            "ibz_kpoints": mesh.kpts.numpy().copy(),
            "kpoint_weights": mesh.weights.numpy().copy(),
        }

    def _of_molecule(self) -> dict[str, Any]:
        structure = self._solve().structure
        return {
            "eigenvalues": structure.orbital_energies.numpy()[:, None] * HARTREE_IN_EV,
            "occupations": structure.occupations.numpy()[:, None].copy(),
            "fermi_level": structure.fermi_level * HARTREE_IN_EV,
            "nspins": structure.n_spins,
            "nkpts": 1,
            "nbands": structure.orbital_energies.shape[1],
            "ibz_kpoints": np.zeros((1, 3)),
            "kpoint_weights": np.ones(1),
        }


def refuse_crystal(atoms: Atoms) -> None:
    """Raise an error for crystals, in methods that are for molecules only.

    Raises
    ------
    StructureError
        Naming what there is for crystals.
    """
    if atoms.pbc.any():
        raise StructureError(
            "this is for molecules only, in this version; for crystals there are "
            "get_real_space_hamiltonian(), get_hamiltonian(kpt=…), get_bands(), band_structure(path), "
            "get_eigenvalues(kpt), get_band_populations(by) and atoms.get_charges()"
        )
