"""Observables of an electronic structure: charges, bond orders, moments, response, fields.

The formulas are in the modules of the same names.  Everything but orbital energies needs the integrals of the
geometry; without them methods raise :class:`~helm_ase.errors.BasisError`.  Points that are not an array of
shape (P, 3) of finite numbers raise :class:`~helm_ase.errors.SettingError`.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from helm_ase.electronic import bond_orders, charges, density_of_states, multipoles
from helm_ase.electronic.integrals import Integrals
from helm_ase.electronic.orbitals import Orbitals
from helm_ase.errors import BasisError, SettingError

Scheme = Literal["mulliken", "lowdin"]
BondScheme = Literal["mayer", "wiberg"]
Projection = Literal["atom", "degree"]


@dataclass(frozen=True)
class ElectronicStructure(Orbitals):
    """Orbitals of one molecule, and everything that follows from them; atomic units.

    Symbols: s spins (1 closed shell, 2 for α and β), A functions, M ≤ A orbitals, N atoms, P points.
    """

    @property
    def molecule(self) -> Integrals:
        """Integrals of the geometry.

        Raises
        ------
        BasisError
            If the structure was solved without them.
        """
        if self.integrals is None:
            raise BasisError(
                "this needs the geometry: pass integrals= to ElectronicStructure.solve "
                "(helm_ase.qc.integrals.MoleIntegrals of a PySCF Mole)"
            )
        return self.integrals

    @property
    def ionisation_potential(self) -> float:
        """−ε_HOMO, Hartree: Koopmans' estimate, which for a density functional is a rough one."""
        return -self.homo

    @property
    def electron_affinity(self) -> float:
        """−ε_LUMO, Hartree: Koopmans' estimate, even rougher."""
        return -self.lumo

    # -- population analysis -------------------------------------------------------------------------

    def charges(self, scheme: Scheme = "mulliken") -> Tensor:
        """Charges of the atoms, e, (N,).

        Raises
        ------
        SettingError
            If there is no such scheme.
        """
        chosen = _chosen(scheme, Scheme, "charge scheme")
        charge_of = charges.mulliken_charges if chosen == "mulliken" else charges.lowdin_charges
        m = self.molecule
        return charge_of(self.density_matrix, self.overlap, m.nuclear_charges, m.atom)

    def spin_populations(self, scheme: Scheme = "mulliken") -> Tensor:
        """α − β electrons of the atoms, (N,); zero in a closed shell.

        Raises
        ------
        SettingError
            If there is no such scheme.
        """
        chosen = _chosen(scheme, Scheme, "charge scheme")
        m = self.molecule
        populations = charges.mulliken_populations if chosen == "mulliken" else charges.lowdin_populations
        return charges.sum_over_atoms(
            populations(self.spin_density, self.overlap), m.atom, len(m.nuclear_charges)
        )

    def bond_orders(self, scheme: BondScheme = "mayer") -> Tensor:
        """Electron pairs shared by each two atoms, (N, N), zero on the diagonal.

        Raises
        ------
        SettingError
            If there is no such scheme.
        """
        chosen = _chosen(scheme, BondScheme, "bond order")
        order = bond_orders.mayer_bond_orders if chosen == "mayer" else bond_orders.wiberg_bond_orders
        m = self.molecule
        return order(self.spin_densities, self.overlap, m.atom, len(m.nuclear_charges))

    # -- moments and response ------------------------------------------------------------------------

    def origin(self, origin: Tensor | None = None) -> Tensor:
        """Point about which moments are taken, bohr, (3,): that given, or the centre of nuclear charge."""
        m = self.molecule
        if origin is not None:
            return torch.as_tensor(origin, dtype=torch.float64, device=m.nuclear_charges.device)
        return m.nuclear_charges @ m.nuclear_positions / m.nuclear_charges.sum()

    def dipole(self, origin: Tensor | None = None) -> Tensor:
        """Dipole moment, e·a0, (3,); of a charged molecule about the centre of nuclear charge if no other
        origin is given (bohr)."""
        m, at = self.molecule, self.origin(origin)
        position = m.position(at)
        return multipoles.dipole_moment(
            self.density_matrix, position, m.nuclear_charges, m.nuclear_positions - at
        )

    def second_moments(self, origin: Tensor | None = None) -> Tensor:
        """Σ q r_x r_y over nuclei and electrons, e·a0², (3, 3); origin as in :meth:`dipole`."""
        m, at = self.molecule, self.origin(origin)
        return multipoles.second_moments(
            self.density_matrix, m.second_moments(at), m.nuclear_charges, m.nuclear_positions - at
        )

    def quadrupole(self, origin: Tensor | None = None) -> Tensor:
        """Buckingham's traceless quadrupole, e·a0², (3, 3); origin as in :meth:`dipole`."""
        return multipoles.traceless(self.second_moments(origin))

    def uncoupled_polarizability(self) -> Tensor:
        """Static polarizability of orbitals that do not respond to each other, a0³, (3, 3).

        It is all that a Hamiltonian implies by itself, and 10 to 40 % larger than the physical one, for which
        the response of the potential is needed: ``HELMCalculator.get_coupled_polarizability``.

        Raises
        ------
        PredictionError
            If occupations are fractional.
        """
        return self.response(self.molecule.position(self.origin(None)))

    # -- curves and fields ---------------------------------------------------------------------------

    def density_of_states(self, grid: Tensor, width: float, by: Projection | None = None) -> Tensor:
        """Gaussian-broadened density of states at energies in Hartree, states per Hartree.

        Parameters
        ----------
        grid
            Energies, Hartree, (G,).
        width
            Standard deviation, Hartree.
        by
            ``atom`` or ``degree``: project on atoms or on degrees l of the functions by Mulliken population
            analysis; None: the total density of states.

        Returns
        -------
        Tensor
            Total density of states of each spin, (s, G), or projected ones, (s, N, G) or (s, lmax + 1, G),
            which sum to it.  Projected ones have no gradient, because they depend on single orbitals.

        Raises
        ------
        SettingError
            If the width is not positive, or there is no such projection.
        """
        if by is not None:
            _chosen(by, Projection, "projection of the density of states")
        curves = []
        for levels, c in zip(self.orbital_energies, self.orbitals, strict=True):
            weights = levels.new_ones(levels.shape)
            if by is not None:
                group = self.molecule.atom if by == "atom" else self.molecule.degree
                count = int(group.max()) + 1
                weights = density_of_states.mulliken_weights(c, self.overlap, group, count)
                levels = levels.detach()
            points = torch.as_tensor(grid, dtype=torch.float64, device=self.overlap.device)
            curves.append(density_of_states.density_of_states(levels, self.capacity * weights, points, width))
        return torch.stack(curves)

    def orbital_at(self, points: Tensor, index: int, spin: int = 0) -> Tensor:
        """Orbital ``index`` (0: the lowest) at points in bohr, (P, 3) → (P,), a0^(−3/2), with any sign.

        Raises
        ------
        SettingError
            If there is no such orbital or spin.
        """
        count = self.orbitals.shape[2]
        if not 0 <= spin < self.n_spins or not 0 <= index < count:
            raise SettingError(
                f"orbital {index} of spin {spin}: there are {count} orbitals, 0 to {count - 1}, "
                f"and spins 0 to {self.n_spins - 1}"
            )
        return self.molecule.values(points) @ self.orbitals[spin, :, index]

    def density_at(self, points: Tensor) -> Tensor:
        """Electron density at points in bohr, (P, 3) → (P,), a0^(−3)."""
        return self._at(points, self.density_matrix)

    def spin_density_at(self, points: Tensor) -> Tensor:
        """α − β density at points in bohr, (P, 3) → (P,), a0^(−3); zero in a closed shell."""
        return self._at(points, self.spin_density)

    def _at(self, points: Tensor, density: Tensor) -> Tensor:
        values = self.molecule.values(points)
        return ((values @ density) * values).sum(1)

    def potential_at(self, points: Tensor) -> Tensor:
        """Electrostatic potential of nuclei and electrons at points in bohr, (P, 3) → (P,), Hartree / e.

        Infinite at a nucleus.
        """
        m = self.molecule
        points = torch.as_tensor(points, dtype=torch.float64, device=self.overlap.device)
        electrons = m.attraction(points, self.density_matrix)
        distance = torch.cdist(points, m.nuclear_positions, compute_mode="donot_use_mm_for_euclid_dist")
        return (m.nuclear_charges / distance).sum(1) - electrons


def _chosen(name: str, allowed: Any, what: str) -> str:
    if name not in get_args(allowed):
        raise SettingError(f"{name!r} is not a {what}; there are {', '.join(get_args(allowed))}")
    return name
