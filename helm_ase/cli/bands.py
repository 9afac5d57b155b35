"""``helm-ase bands``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helm_ase.cli.number_types import real, whole
from helm_ase.cli.structure_options import add_mesh, add_periodicity

if TYPE_CHECKING:
    from ase import Atoms

    from helm_ase.calculator.helm import HELMCalculator

DESCRIPTION = """Predict the Hamiltonian of a crystal, print its Fermi level and band gap, draw its band
structure and density of states, and write the Hamiltonian for other programs."""
ENDINGS = ("_hr.dat", "_centres.xyz", ".win")
"""Endings of the files that ``--wannier90`` writes."""
FILES = ("POSCAR", "info.json", "overlap.h5", "hamiltonian.h5")
"""Files in the folder that ``--deeph`` writes."""


def add_commands(commands: Any) -> None:
    """Add ``bands``."""
    bands = commands.add_parser(
        "bands",
        help="compute band structure, density of states and gap of a crystal",
        description=DESCRIPTION,
    )
    bands.add_argument(
        "file",
        metavar="FILE",
        help="structure in any format that ASE reads; if FILE holds several frames, the last one is used",
    )
    add_periodicity(bands, only_crystals=True)
    bands.add_argument(
        "--model",
        required=True,
        help="checkpoint trained on crystals: name from 'helm-ase models', path or URL",
    )
    _add_points(bands)
    add_mesh(bands)
    bands.add_argument(
        "--window",
        type=real(-1e6, 1e6),
        nargs=2,
        metavar="EV",
        help="lowest and highest energy of the picture in eV above the Fermi level (default: all bands)",
    )
    _add_outputs(bands)
    bands.set_defaults(command=_bands)


def _add_outputs(bands: argparse.ArgumentParser) -> None:
    bands.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="picture to write (.png, .pdf, .svg); without it none is drawn",
    )
    bands.add_argument(
        "--project",
        choices=("atom", "element", "degree"),
        help="draw the density of states also for each atom, element, or degree (s, p, d ...) of the "
        "functions, by Mulliken populations",
    )
    bands.add_argument(
        "--wannier90",
        metavar="PREFIX",
        help="write H(T) over orthonormal functions, in eV, to PREFIX_hr.dat, PREFIX_centres.xyz and "
        "PREFIX.win, which WannierTools, PythTB and others read",
    )
    bands.add_argument(
        "--deeph",
        metavar="FOLDER",
        help="write H(T) and S(T) to a folder in DeepH's layout of 2026 (POSCAR, info.json, overlap.h5, "
        "hamiltonian.h5)",
    )


def _add_points(bands: argparse.ArgumentParser) -> None:
    bands.add_argument(
        "--path",
        metavar="GXK",
        help="path through the Brillouin zone as ASE writes it, a letter for each special point, G for Gamma "
        "(default: ASE's standard path of the Bravais lattice)",
    )
    bands.add_argument(
        "--points",
        type=whole(2, 10**6),
        default=100,
        metavar="N",
        help="number of k points along the path (default: 100)",
    )


def _bands(options: argparse.Namespace) -> None:
    from helm_ase.calculator.helm import HELMCalculator
    from helm_ase.errors import StructureError
    from helm_ase.pictures.bands import describe_gap, draw_bands, gap_of_both
    from helm_ase.pictures.figure import check_format
    from helm_ase.representation.structure_files import read_frames
    from helm_ase.system.atomic_write import check_apart
    from helm_ase.units import HARTREE_IN_EV

    check_apart([options.output], [options.file])
    _check_new(options)
    if options.output:
        check_format(options.output)
    frames = read_frames(options.file, "-1", options.pbc)
    if not frames:
        raise StructureError(f"{options.file} holds no structure")
    atoms = frames[-1]
    calc = HELMCalculator(
        model=options.model, dtype="float64", kpts=options.kpts, smearing=options.smearing, atoms=atoms
    )
    mesh = calc.get_bands(atoms)
    structure = calc.band_structure(options.path, options.points, atoms)
    print(f"model: {calc.checkpoint.name}, k points: {'×'.join(map(str, calc.get_mesh_size(atoms)))}")
    print(f"Fermi level: {mesh.fermi_level * HARTREE_IN_EV:.4f} eV")
    print(f"on the mesh: {describe_gap(mesh.gap)}")
    print(f"on the mesh and the path {structure.path.path}: {describe_gap(gap_of_both(structure, mesh))}")
    if options.output:
        window = None if options.window is None else (options.window[0], options.window[1])
        projection = calc.get_band_populations(options.project, atoms) if options.project else None
        draw_bands(
            structure, mesh, options.output, atoms.get_chemical_formula(), window, projection=projection
        )
        print(f"picture: {options.output}")
    _export(options, calc, atoms, mesh.fermi_level * HARTREE_IN_EV)


def _check_new(options: argparse.Namespace) -> None:
    """Refuse to replace files that other programs read: they may be the user's own input."""
    from helm_ase.errors import SettingError

    if options.project and not options.output:
        raise SettingError("--project belongs to the picture: name it with -o")
    names = [f"{options.wannier90}{end}" for end in ENDINGS] if options.wannier90 else []
    names += [str(Path(options.deeph) / name) for name in FILES] if options.deeph else []
    if there := [name for name in names if Path(name).exists()]:
        raise SettingError(f"{', '.join(there)} exists: remove it, or export to another place")


def _export(options: argparse.Namespace, calc: "HELMCalculator", atoms: "Atoms", fermi_level: float) -> None:
    """Write what other programs are to read."""
    from helm_ase.electronic.orthogonalisation import orthogonalised
    from helm_ase.labels.deeph import write_deeph
    from helm_ase.labels.wannier90 import write_wannier90
    from helm_ase.representation.lattice import Lattice

    if not (options.wannier90 or options.deeph):
        return
    h, s = calc.get_real_space_hamiltonian(atoms), calc.get_real_space_overlap(atoms)
    if options.deeph:
        write_deeph(options.deeph, atoms, h, s, fermi_level)
        print(f"DeepH: {options.deeph}")
    if options.wannier90:
        orthonormal = orthogonalised(h, s, Lattice.of_atoms(atoms), atoms.positions)
        files = write_wannier90(options.wannier90, orthonormal, atoms)
        print(f"Wannier90: {', '.join(map(str, files))}")
