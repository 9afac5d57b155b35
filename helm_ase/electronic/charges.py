"""Population analysis: electrons assigned to atoms by Mulliken's and Löwdin's schemes."""

from torch import Tensor

from helm_ase.representation.overlap import symmetric_root


def mulliken_populations(density: Tensor, overlap: Tensor) -> Tensor:
    """Mulliken populations of the basis functions, which share overlap populations equally, (A,).

    Parameters
    ----------
    density, overlap
        (A, A), same AO order.
    """
    return (density * overlap).sum(1)


def lowdin_populations(density: Tensor, overlap: Tensor) -> Tensor:
    """Löwdin populations: electrons of the symmetrically orthogonalised functions, (A,).

    Parameters
    ----------
    density, overlap
        (A, A), same AO order.
    """
    root = symmetric_root(overlap)
    return ((root @ density) * root).sum(1)


def sum_over_atoms(populations: Tensor, atom: Tensor, count: int) -> Tensor:
    """Sum populations over the functions of each atom.

    Parameters
    ----------
    populations
        Populations of the functions, (..., A).
    atom
        Atom of each function, (A,).
    count
        Number of atoms.

    Returns
    -------
    Tensor
        (..., N).
    """
    sums = populations.new_zeros(*populations.shape[:-1], count)
    return sums.index_add(-1, atom, populations)


def mulliken_charges(density: Tensor, overlap: Tensor, charges: Tensor, atom: Tensor) -> Tensor:
    """Mulliken charges in e, (N,).

    Parameters
    ----------
    density, overlap
        (A, A), same AO order.
    charges
        Charges of the nuclei, (N,).
    atom
        Atom of each function, (A,).
    """
    return charges - sum_over_atoms(mulliken_populations(density, overlap), atom, len(charges))


def lowdin_charges(density: Tensor, overlap: Tensor, charges: Tensor, atom: Tensor) -> Tensor:
    """Löwdin charges in e, (N,); parameters as :func:`mulliken_charges`."""
    return charges - sum_over_atoms(lowdin_populations(density, overlap), atom, len(charges))
