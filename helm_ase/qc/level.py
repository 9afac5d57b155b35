"""PySCF calculations at a level of theory, and the choice of a baseline H0."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from helm_ase.errors import SettingError
from helm_ase.qc.molecule import check_basis_name
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.level import LevelOfTheory

LARGEST_GRID = 5810
"""Points of the largest grid on a sphere that PySCF has."""
BaselineName = Literal["none", "sap", "minao", "fitted"]


@dataclass(frozen=True)
class Baseline:
    """Baseline Hamiltonian H0, to which the network adds a correction."""

    name: BaselineName = "minao"
    """Baseline Hamiltonian: ``none`` is zero; ``sap`` the kinetic energy and a superposition of atomic
    potentials; ``minao`` the Fock matrix of PySCF's superposition of minimal-basis atomic densities;
    ``fitted`` the kinetic energy and one operator for each element, fitted to the Hamiltonians of the
    training set."""
    grid: tuple[int, int] = (50, 434)
    """Number of radial and angular grid points on each atom for the exchange–correlation part of ``minao``.
    More angular points make H0 less dependent on the orientation of the molecule: a virtual orbital energy of
    ethanol varies by 30 µEh with 302 points (PySCF's level 3), and by 4 µEh with 434."""
    operators: tuple[AtomicOperator, ...] = field(default=(), repr=False)
    """Operators of ``fitted``, one for each element. Leave them empty in a recipe: training fits them to the
    training labels."""
    charges: bool = False
    """Whether the operators of ``fitted`` depend on the atomic charges that the energy baseline computes."""
    spins: bool = False
    """Whether ``fitted`` has another H0 for α than for β electrons of an open shell, according to the spin
    density that the energy baseline computes."""

    def __post_init__(self) -> None:
        if self.name not in (allowed := get_args(BaselineName)):
            raise SettingError(f"unknown baseline {self.name!r}; allowed: {', '.join(allowed)}")
        if self.operators and self.name != "fitted":
            raise SettingError(f"baseline {self.name!r} has no operators of atoms; 'fitted' has")
        object.__setattr__(self, "grid", tuple(self.grid))  # JSON knows only lists
        if len(self.grid) != 2 or not all(type(n) is int and 0 < n <= LARGEST_GRID for n in self.grid):
            raise SettingError(f"grid is {self.grid}; radial and angular points are 1 to {LARGEST_GRID} each")
        made = tuple(x if isinstance(x, AtomicOperator) else AtomicOperator(**x) for x in self.operators)
        object.__setattr__(self, "operators", made)
        if self.charges and self.name != "fitted":
            raise SettingError(f"baseline {self.name!r} knows no charges of atoms; 'fitted' does")
        if self.spins and self.name != "fitted":
            raise SettingError(f"baseline {self.name!r} is the same for both spins; 'fitted' need not be")
        for name, fitted in (
            ("charges", {operator.responds_to_charge for operator in made}),
            ("spins", {operator.exchange is not None for operator in made}),
        ):
            if fitted - {(asked := getattr(self, name))}:
                raise SettingError(
                    f"{name} is {asked}, which is not what the operators of the baseline were fitted for"
                )
        if len({operator.number for operator in made}) < len(made):
            raise SettingError("the baseline holds two operators of one element")

    @property
    def signature(self) -> list[Any]:
        """JSON-compatible values that identify the baseline: equal ones mean equal matrices."""
        if self.name != "fitted":
            return [self.name, list(self.grid)]
        numbers = json.dumps([operator.to_json() for operator in self.operators])
        return [self.name, hashlib.sha256(numbers.encode()).hexdigest()]


def kohn_sham(mole: Any, level: LevelOfTheory) -> Any:
    """PySCF mean-field object (RKS or UKS) at a level of theory."""
    from pyscf import dft

    mf = (dft.RKS if mole.spin == 0 else dft.UKS)(mole, xc=level.functional)
    if level.density_fitting:
        if level.auxiliary_basis:
            check_basis_name(level.auxiliary_basis)
        mf = mf.density_fit(auxbasis=level.auxiliary_basis or None)
    mf.grids.level = level.grid_level
    mf.conv_tol = level.conv_tol
    return mf


def pyscf_level(
    functional: str = "b3lyp",
    basis: str = "def2-svp",
    density_fitting: bool = True,
    grid_level: int = 3,
    conv_tol: float = 1e-9,
    auxiliary_basis: str = "",
) -> LevelOfTheory:
    """Level of theory of the PySCF that is installed, with the meaning it gives to the functional's name.

    Raises
    ------
    SettingError
        If PySCF does not know the functional, or a number is out of range.
    """
    import pyscf

    if not 0 <= grid_level <= 9:
        raise SettingError(f"grid level {grid_level} does not exist; PySCF has 0 (coarse) to 9")
    if not 0 < conv_tol < 1e-3:
        raise SettingError(f"an SCF threshold of {conv_tol} Eh is out of range; use 1e-7 to 1e-12")
    code = "PySCF " + ".".join(pyscf.__version__.split(".")[:2])
    return LevelOfTheory(
        functional.lower(), functional_variant(functional), basis.lower(), density_fitting, grid_level,
        conv_tol, code, auxiliary_basis,
    )  # fmt: skip


def check_functional(functional: str) -> None:
    """Refuse a functional that PySCF knows by name but cannot compute, by computing helium with it.

    Raises
    ------
    SettingError
        With PySCF's reason.
    """
    from pyscf import dft, gto

    atom = gto.M(atom="He", basis="sto-3g", verbose=0)
    calculation = dft.RKS(atom, xc=functional)
    calculation.grids.level = 0
    calculation.chkfile = None  # HDF5, which does not survive a full disk
    try:
        calculation.kernel()
    except (NotImplementedError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise SettingError(f"PySCF cannot compute the functional {functional!r}: {error}") from error


def functional_variant(functional: str) -> str:
    """What the installed PySCF means by a name: of B3LYP its correlation, of others the libxc terms.

    Raises
    ------
    SettingError
        If PySCF does not know the name.
    """
    from pyscf import __config__
    from pyscf.dft import libxc

    try:
        exchange, terms = libxc.parse_xc(functional)
    except (KeyError, ValueError) as error:
        raise SettingError(f"PySCF does not know the functional {functional!r}: {error}") from error
    if functional.lower() == "b3lyp":
        vwn5 = getattr(__config__, "B3LYP_WITH_VWN5", False)
        return "VWN5" if vwn5 else LevelOfTheory.variant
    parts = [f"{exchange[0]:g} HF"] if exchange[0] else []
    return "libxc " + " + ".join(parts + [f"{factor:g} x {number}" for number, factor in terms])


def check_variant(level: LevelOfTheory) -> None:
    """Refuse a level whose functional the installed PySCF does not compute.

    Raises
    ------
    SettingError
        If the name means something else here, or the labels' program did not say what it meant.
    """
    here = functional_variant(level.functional)
    if level.variant != here:
        raise SettingError(
            f"the labels have {level.functional!r} as {level.variant!r} ({level.code}); the PySCF installed "
            f"here means {here!r}: its SCF steps would lead to another energy"
        )


def use_one_thread() -> None:
    """Keep PySCF in this process to one thread; for worker processes of our own."""
    from pyscf import lib

    lib.num_threads(1)


__all__ = ["Baseline", "LevelOfTheory", "functional_variant", "kohn_sham", "pyscf_level", "use_one_thread"]
