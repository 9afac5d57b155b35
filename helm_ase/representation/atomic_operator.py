"""What an atom adds to the one-electron Hamiltonian of a molecule."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AtomicOperator:
    """Screening of the nucleus and projectors on the functions of one element, fitted to Hamiltonians.

    It stands for Coulomb, exchange and correlation of a neutral atom among others:

        V = Σ_k n_k ∫ g_k(r') / |r − r'| dr' + Σ_l Σ_ij Σ_m |χ_ilm⟩ P^l_ij ⟨χ_jlm|

    with normalised s Gaussians g_k, and χ the atom's functions in the basis of the level of theory.
    """

    number: int
    """Atomic number."""
    exponents: tuple[float, ...]
    """Of the Gaussians, a0⁻²."""
    electrons: tuple[float, ...]
    """n_k; their sum is the charge of the nucleus (of the core where there is an ECP)."""
    projectors: tuple[tuple[tuple[float, ...], ...], ...]
    """P^l for l = 0, 1, …, Hartree: symmetric, as large as there are shells of degree l."""

    def __post_init__(self) -> None:
        """Lists, which is what JSON knows, become tuples."""
        for name, depth in (("exponents", 1), ("electrons", 1), ("projectors", 3)):
            object.__setattr__(self, name, _tuples(getattr(self, name), depth))


def _tuples(values: object, depth: int) -> object:
    return tuple(_tuples(v, depth - 1) for v in values) if depth else values  # type: ignore[attr-defined]
