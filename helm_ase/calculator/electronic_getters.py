"""Methods of the calculator that need a Hamiltonian, beyond ASE's own properties."""

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from helm_ase.electronic import ElectronicStructure
from helm_ase.errors import SettingError
from helm_ase.prediction.electronic import ElectronicPrediction
from helm_ase.representation.block_sparse import block_sparse
from helm_ase.representation.charge_state import is_whole
from helm_ase.units import ATOMIC_POLARIZABILITY_IN_E2_ANGSTROM2_PER_EV, HARTREE_IN_EV

if TYPE_CHECKING:
    from helm_ase.checkpoint import Checkpoint
    from helm_ase.prediction.domain import Uncertainty
    from helm_ase.prediction.refinement import Refinement
    from helm_ase.qc.reliability import Reliability

FILES = {".cube": "field", ".molden": "orbitals", ".chk": "PySCF checkpoint"}
"""Suffix → what :meth:`ElectronicGetters.write` writes."""


class ElectronicGetters:
    """Methods of :class:`~helm_ase.HELMCalculator` that compute a Hamiltonian.

    Each takes ``atoms``; if absent, the atoms that the calculator is attached to are used.  Hamiltonian,
    orbitals and the Fock matrix of their density are kept until the geometry changes.
    """

    if TYPE_CHECKING:  # of the calculator
        parameters: Mapping[str, Any]

        def _solve(self, atoms: Atoms | None = None) -> ElectronicPrediction: ...
        def get_bloch_matrices(
            self, kpts: ArrayLike, atoms: Atoms | None = None
        ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
            """See the crystal getters."""

        def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
            """Look up or compute a property (ASE)."""

        def get_uncertainty(self, atoms: Atoms | None = None) -> Uncertainty:
            """Error bar of the energy."""

        @property
        def checkpoint(self) -> Checkpoint:
            """The loaded checkpoint."""

    # -- the prediction ------------------------------------------------------------------------------

    def get_electronic_structure(self, atoms: Atoms | None = None) -> ElectronicStructure:
        """Orbitals, orbital energies, density and all observables of the predicted Hamiltonian (atomic units,
        PySCF AO order); a copy, which callers may change."""
        return copy.deepcopy(self._solve(atoms).structure)

    def get_hamiltonian(
        self, atoms: Atoms | None = None, sparse: bool = False, kpt: ArrayLike | None = None
    ) -> Any:
        """Kohn–Sham matrix in Hartree, PySCF AO order.

        Parameters
        ----------
        atoms
            Geometry.
        sparse
            Leave out the blocks of atoms that are far apart, those without an element above 1e-10 Eh.
        kpt
            The k point of a crystal, in fractions of the reciprocal vectors, (3,).

        Returns
        -------
        ndarray
            (A, A), complex at a k point, or (2, A, A) for an open shell.  If it is to be sparse: a
            ``scipy.sparse.csr_array``, or a list of two.

        Raises
        ------
        StructureError
            If a k point is given for a molecule, or none for a crystal.
        SettingError
            If the k point is not three finite numbers, or its matrix is to be sparse.
        """
        if kpt is not None and sparse:
            raise SettingError("matrices at a k point are dense: leave sparse out")
        if kpt is not None:
            return self.get_bloch_matrices(np.asarray(kpt)[None], atoms)[0][0]
        matrix = np.array(self.get_property("hamiltonian", atoms))
        if not sparse:
            return matrix
        starts = self._solve(atoms).mole.aoslice_by_atom()[:, 2:]
        starts = np.append(starts[:, 0], starts[-1, 1])
        spins = [block_sparse(h, starts) for h in (matrix if matrix.ndim == 3 else matrix[None])]
        return spins[0] if len(spins) == 1 else spins

    def get_overlap(self, atoms: Atoms | None = None, kpt: ArrayLike | None = None) -> NDArray[Any]:
        """Overlap matrix, PySCF AO order, (A, A); ``kpt`` as in :meth:`get_hamiltonian`."""
        if kpt is not None:
            at_point: NDArray[Any] = self.get_bloch_matrices(np.asarray(kpt)[None], atoms)[1][0]
            return at_point
        return np.array(self.get_property("overlap", atoms))

    def get_density_matrix(self, atoms: Atoms | None = None) -> NDArray[np.float64]:
        """Total density matrix, PySCF AO order, (A, A); usable as ``dm0`` of a PySCF calculation."""
        return self._solve(atoms).structure.density_matrix.numpy().copy()

    def get_homo_lumo(self, atoms: Atoms | None = None) -> tuple[float, float]:
        """HOMO and LUMO in eV, over both spins."""
        structure = self._solve(atoms).structure
        return structure.homo * HARTREE_IN_EV, structure.lumo * HARTREE_IN_EV

    def get_homo_lumo_by_spin(self, spin: int = 0, atoms: Atoms | None = None) -> tuple[float, float]:
        """HOMO and LUMO in eV of one spin channel.

        Raises
        ------
        SettingError
            If there is no such spin: a closed shell has 0 only.
        """
        below, above = self.get_levels_around_gap(1, spin, atoms)
        return float(below[-1]) if len(below) else -np.inf, float(above[0]) if len(above) else np.inf

    def get_levels_around_gap(
        self, count: int = 5, spin: int = 0, atoms: Atoms | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Highest occupied and lowest unoccupied levels in eV, ascending, ``count`` of each.

        In large molecules they are computed without the other levels.

        Raises
        ------
        SettingError
            If there is no such spin, or the number is not positive.
        """
        structure = self._solve(atoms).structure
        if spin not in range(structure.n_spins):
            raise SettingError(f"spin {spin}: there are spins 0 to {structure.n_spins - 1}")
        if not is_whole(count) or count < 1:
            raise SettingError(f"count is {count!r}; it is a number of levels: 1, 2, 3, …")
        below, above = structure.frontier(spin, int(count))
        return (below * HARTREE_IN_EV).numpy(), (above * HARTREE_IN_EV).numpy()

    def get_uncoupled_polarizability(self, atoms: Atoms | None = None) -> NDArray[np.float64]:
        """Static uncoupled polarizability, which the Hamiltonian alone determines, e²·Å²/eV, (3, 3).

        It neglects how the potential responds to the field, and is therefore 10 to 40 % larger than the
        physical one.
        """
        atomic_units = self._solve(atoms).structure.uncoupled_polarizability().numpy()
        return np.asarray(atomic_units * ATOMIC_POLARIZABILITY_IN_E2_ANGSTROM2_PER_EV)

    def get_coupled_polarizability(self, atoms: Atoms | None = None) -> NDArray[np.float64]:
        """Physical static polarizability: PySCF's coupled-perturbed equations on the predicted orbitals.

        It costs about as much as an SCF.  e²·Å²/eV, (3, 3), the unit of ASE's Raman module.

        Raises
        ------
        SCFError
            If the equations do not converge.
        SettingError
            If the installed PySCF defines the functional of that name differently from the labels.
        """
        atomic_units = self._solve(atoms).coupled_polarizability
        return np.asarray(atomic_units * ATOMIC_POLARIZABILITY_IN_E2_ANGSTROM2_PER_EV)

    # -- back to DFT ---------------------------------------------------------------------------------

    def initial_guess(
        self, mol: Any = None, atoms: Atoms | None = None, guard: bool = True
    ) -> NDArray[np.float64]:
        """Density matrix for ``mf.kernel(dm0=…)`` of PySCF, any functional.

        Where the prediction is in doubt, PySCF's own guess is returned, with a
        :class:`~helm_ase.prediction.guess.GuessWarning` that says why.

        Parameters
        ----------
        mol
            ``Mole`` of the calculation, of the same molecule in the same place and any basis; absent: that of
            the model's basis.
        atoms
            Geometry.
        guard
            Look at gap, error bar and charges first; False gives the predicted density, whatever it is.

        Returns
        -------
        ndarray
            (A', A') in the AO order of ``mol``; (2, A', A') of an open shell.

        Raises
        ------
        StructureError, ChargeError, BasisError
            If ``mol`` is another molecule, charge or state, or has core potentials where the model has none.
        """
        from helm_ase.prediction.guess import GuessWarning, doubts_of
        from helm_ase.qc.density_guess import density_for, own_guess

        prediction = self._solve(atoms)
        structure = prediction.structure
        if mol is None:
            densities = structure.spin_densities.numpy()
            ours = np.array(densities[0] if len(densities) == 1 else densities)
        else:
            ours = density_for(prediction.mole, structure.orbitals.numpy(), structure.occupied, mol)
        if guard and (reason := doubts_of(structure, self._error_bar(atoms)).reason):
            warnings.warn(
                f"{reason}: PySCF's own guess is taken in place of the prediction (guard=False takes that)",
                GuessWarning,
                stacklevel=2,
            )
            return own_guess(prediction.mole if mol is None else mol)
        return ours

    def _error_bar(self, atoms: Atoms | None) -> "Uncertainty | None":
        checkpoint = self.checkpoint
        known = checkpoint.uncertainty is not None and "energy" in checkpoint.predicts
        known = known and not self.parameters["refine"]  # refined energies have none
        return self.get_uncertainty(atoms) if known else None

    def refine(self, n_iterations: int = 1, forces: bool = False, atoms: Atoms | None = None) -> "Refinement":
        """Do SCF steps from the predicted density, which bring energy, orbital energies and forces close to
        DFT.

        Parameters
        ----------
        n_iterations
            Fock matrices to build, each as expensive as an SCF cycle; the first one is shared with
            :meth:`get_reliability` and :meth:`get_functional_energy`.
        forces
            Also analytic forces.
        atoms
            Geometry.

        Raises
        ------
        SettingError
            If the number of iterations is less than 1.
        """
        from helm_ase.prediction.refinement import refine

        return refine(self._solve(atoms), n_iterations, forces)

    def get_functional_energy(self, atoms: Atoms | None = None) -> float:
        """E[D(H)], eV: the density functional evaluated once at the predicted density, without iteration."""
        return self._solve(atoms).first_step.energy * HARTREE_IN_EV

    def get_reliability(self, atoms: Atoms | None = None) -> "Reliability":
        """Error estimate without labels: how far the predicted Hamiltonian is from self-consistency.

        Its ``words`` compare with what is usual for the model, if ``helm-ase calibrate`` has measured it, and
        otherwise with what is usual for helm-hcnof-2.
        """
        from helm_ase.prediction.refinement import assess
        from helm_ase.prediction.self_consistency import usual_of

        return assess(self._solve(atoms), usual_of(self.checkpoint))

    # -- files ---------------------------------------------------------------------------------------

    def write(
        self, path: str | Path, field: str | int = "density", spin: int = 0, spacing: float = 0.2,
        margin: float = 3.0, atoms: Atoms | None = None,
    ) -> None:  # fmt: skip
        """Write a ``.cube`` file of a field, a ``.molden`` file or a PySCF ``.chk`` file.

        Parameters
        ----------
        path
            File; its suffix says which kind.
        field, spin
            Content of a cube: ``density``, ``spin density``, ``potential``, ``homo``, ``lumo+1``, … or the
            number of an orbital from 0, and its spin.
        spacing, margin
            Spacing and margin of a cube's grid, Å.
        atoms
            Geometry.

        Raises
        ------
        SettingError
            If the suffix, the field or the grid is not valid.
        """
        from helm_ase.electronic.fields import write_cube
        from helm_ase.qc.orbital_output import OrbitalTable, write_chkfile, write_molden

        if (suffix := Path(path).suffix.lower()) not in FILES:
            known = ", ".join(f"{k} ({what})" for k, what in FILES.items())
            raise SettingError(f"no file format for {path}; there are {known}")
        prediction = self._solve(atoms)
        if suffix == ".cube":
            write_cube(path, prediction.atoms, prediction.structure, field, spacing, margin, spin)
            return
        s = prediction.structure
        table = OrbitalTable(s.orbital_energies.numpy(), s.orbitals.numpy(), s.occupations.numpy())
        write_file = write_molden if suffix == ".molden" else write_chkfile
        write_file(path, prediction.mole, table)
