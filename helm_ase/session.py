"""``helm-ase run`` and ``report``: one structure from file to printed answer or page."""

import argparse

import numpy as np
from ase import Atoms
from ase import units as ase_units
from ase.io import read, write
from ase.io.formats import UnknownFileTypeError
from ase.io.trajectory import TrajectoryWriter
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from tqdm import tqdm

from helm_ase.calculator import HELMCalculator
from helm_ase.errors import StructureError
from helm_ase.pictures.levels import draw_levels, level_table
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM, DEBYE_IN_E_ANGSTROM


def run_file(options: argparse.Namespace) -> None:
    """Do what the options of ``helm-ase run`` ask for.

    Raises
    ------
    StructureError
        If ASE cannot read the file.
    """
    atoms = _read(options.file)
    atoms.calc = HELMCalculator(
        model=options.model,
        device=options.device,
        dtype=options.dtype,
        charge=options.charge,
        multiplicity=options.multiplicity,
    )
    level = atoms.calc.checkpoint.level
    print(f"{atoms.get_chemical_formula()}  {atoms.calc.checkpoint.name}  "
          f"({level.functional.upper()}/{level.basis})")  # fmt: skip
    frames = TrajectoryWriter(options.trajectory, "w", atoms) if _is_traj(options.trajectory) else None
    if options.opt:
        optimise(atoms, options.fmax, frames)
    if options.md:
        dynamics(atoms, options, frames)
    print_energies(atoms)
    if not options.no_orbitals or options.levels:
        print_orbitals(atoms)
    if options.levels:
        draw_levels(atoms.calc.get_electronic_structure(), options.levels, atoms.get_chemical_formula())
        print(f"level diagram: {options.levels}")
    if options.output:
        _write(options.output, atoms)
        print(f"structure: {options.output}")


def report_file(options: argparse.Namespace) -> None:
    """Write the page that the options of ``helm-ase report`` ask for.

    Raises
    ------
    StructureError
        If ASE cannot read the file.
    SettingError
        If there is no such orbital, or a package is missing.
    """
    from helm_ase.pictures.page import write_page

    atoms = _read(options.file)
    atoms.calc = HELMCalculator(model=options.model, charge=options.charge, multiplicity=options.multiplicity)
    write_page(options.output, atoms.calc, options.orbitals, not options.no_check)
    print(f"report: {options.output}")


def _read(file: str) -> Atoms:
    try:
        atoms = read(file)
    except FileNotFoundError:
        raise
    except Exception as error:  # ASE's readers raise whatever they trip over
        raise StructureError(f"ASE cannot read {file}: {error}") from error
    assert isinstance(atoms, Atoms)
    return atoms


def _write(file: str, atoms: Atoms) -> None:
    try:
        write(file, atoms)
    except UnknownFileTypeError as error:
        raise StructureError(f"ASE knows no format for {file}: {error}; try .xyz or .traj") from error


def _is_traj(path: str | None) -> bool:
    if path is not None and not path.endswith(".traj"):
        raise StructureError(
            f"--trajectory writes ASE .traj files, not {path}; 'ase convert' turns them into others"
        )
    return path is not None


def optimise(atoms: Atoms, fmax: float, frames: TrajectoryWriter | None) -> None:
    """Relax with BFGS, showing the largest force."""
    optimizer = BFGS(atoms, logfile=None)
    if frames is not None:
        optimizer.attach(frames.write, interval=1)
    with tqdm(desc="optimising", unit="step") as bar:
        for _ in optimizer.irun(fmax=fmax, steps=500):
            bar.set_postfix(fmax=f"{np.linalg.norm(atoms.get_forces(), axis=1).max():.4f} eV/Å")
            bar.update()
    state = "converged" if optimizer.converged(atoms.get_forces().ravel()) else "NOT converged"
    print(f"optimisation {state} after {optimizer.nsteps} steps")


def dynamics(atoms: Atoms, options: argparse.Namespace, frames: TrajectoryWriter | None) -> None:
    """Run Langevin or constant-energy dynamics, showing temperature and total energy."""
    rng = np.random.default_rng(options.seed)
    thermalize_momenta(atoms, options.temperature, rng=rng)
    Stationary(atoms)
    step = options.timestep * ase_units.fs
    if options.nve:
        md = VelocityVerlet(atoms, step)
    else:
        md = Langevin(
            atoms, step, temperature_K=options.temperature, friction=0.01 / ase_units.fs, fixcm=False, rng=rng
        )
    if frames is not None:
        md.attach(frames.write, interval=10)
    start = atoms.get_total_energy()
    with tqdm(total=options.md, desc="dynamics", unit="step") as bar:
        for _ in md.irun(options.md):
            bar.set_postfix(T=f"{atoms.get_temperature():.0f} K", refresh=False)
            bar.update(min(1, options.md - bar.n))
    drift = (atoms.get_total_energy() - start) * 1000 / len(atoms)
    print(f"{options.md} steps of {options.timestep} fs; total energy changed by {drift:.3f} meV/atom")


def print_energies(atoms: Atoms) -> None:
    """Print energy and forces."""
    forces = atoms.get_forces()
    print(f"\nenergy  {atoms.get_potential_energy():.6f} eV\n\nforces / eV/Å")
    for symbol, (x, y, z) in zip(atoms.symbols, forces, strict=True):
        print(f"  {symbol:<2} {x:12.6f} {y:12.6f} {z:12.6f}")


def print_orbitals(atoms: Atoms) -> None:
    """Print the orbital table, the gap and the dipole."""
    structure = atoms.calc.get_electronic_structure()
    homo, lumo = atoms.calc.get_homo_lumo()
    print(f"\n{level_table(structure)}\n\nHOMO-LUMO gap  {lumo - homo:.3f} eV")
    dipole = float(structure.dipole().norm()) * ATOMIC_DIPOLE_IN_E_ANGSTROM / DEBYE_IN_E_ANGSTROM
    origin = " about the centre of nuclear charge" if atoms.calc.todict().get("charge") else ""
    print(f"dipole  {dipole:.3f} D{origin}")
