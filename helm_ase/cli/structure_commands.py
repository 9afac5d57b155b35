"""``helm-ase run`` and ``report``: compute one structure and print the results or write a page."""

import argparse
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, parse_filename
from ase.io.trajectory import TrajectoryWriter
from ase.optimize import BFGS
from ase.vibrations import VibrationsData

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.cli.crystal_output import check_pictures, print_bands
from helm_ase.cli.dynamics import check_velocities, dynamics
from helm_ase.cli.watch import Watch, check_trust
from helm_ase.errors import SettingError, StructureError
from helm_ase.pictures.figure import check_format
from helm_ase.pictures.infrared import draw_spectrum, intensity_table
from helm_ase.pictures.levels import draw_levels, level_table
from helm_ase.prediction.dispersion import NAMES, note_dispersion
from helm_ase.prediction.domain import ExtrapolationWarning
from helm_ase.prediction.infrared import STANDARD_PRESSURE, STANDARD_TEMPERATURE, ideal_gas
from helm_ase.prediction.verdict import SMALLEST_GAP, Trust, Verdict
from helm_ase.representation.charge_state import charge_state, give_state
from helm_ase.representation.structure_files import read_frames
from helm_ase.system.atomic_write import check_apart, whole_file
from helm_ase.system.terminal import progress_bar
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM, DEBYE_IN_E_ANGSTROM

STATIONARY = 0.05
"""Largest force (eV/Å) up to which harmonic frequencies are printed without a warning."""

ADVICE = "--refine 2 does two SCF steps of DFT from this prediction and reports what they give"
"""Printed after a verdict of extrapolation."""


def run_file(options: argparse.Namespace) -> None:
    """Do what the options of ``helm-ase run`` ask for.

    Raises
    ------
    StructureError
        If ASE cannot read the file.
    SettingError
        If a file that is asked for could not be written.
    """
    check_outputs(options)
    atoms = _read(options)
    check_pictures(atoms, options.bands, options.dos, options.levels)
    check_velocities(atoms, options)
    atoms.calc = HELMCalculator(
        model=options.model,
        device=options.device,
        dtype=options.dtype,
        kpts=options.kpts,
        smearing=options.smearing,
        refine=options.refine,
        dispersion=options.dispersion,
    )
    print_header(atoms)
    predicts = atoms.calc.checkpoint.predicts
    if options.opt or options.md:
        move(atoms, options)
    verdict = _judged(atoms, options)
    if verdict.trust == Trust.EXTRAPOLATING and not options.refine and not atoms.pbc.any():
        print(f"advice   {ADVICE}")
    if "energy" in predicts or options.refine:
        print_energies(atoms)
    if options.output:  # before anything that may fail
        note_dispersion(atoms, options.dispersion)
        form = filetype(options.output, read=False)
        with whole_file(options.output) as partial:
            write(partial, atoms, format=form)
        print(f"structure: {options.output}")
    if options.vibrations or options.spectrum:
        print_vibrations(atoms, options.spectrum)
    if atoms.pbc.any():
        if options.bands or options.dos or (not options.no_orbitals and "hamiltonian" in predicts):
            print_bands(atoms, options.bands, options.dos)
    elif options.levels or (not options.no_orbitals and "hamiltonian" in predicts):
        print_orbitals(atoms)
    if options.levels:
        draw_levels(atoms.calc.get_electronic_structure(), options.levels, atoms.get_chemical_formula())
        print(f"level diagram: {options.levels}")


def check_outputs(options: argparse.Namespace) -> None:
    """Refuse what could not be written before anything is computed.

    Raises
    ------
    SettingError
        If a folder is missing, a format unknown, an output also the input, or there will be no frames for a
        trajectory.
    """
    pictures = [x for x in (options.levels, options.spectrum, options.bands, options.dos) if x]
    outputs = (options.output, options.trajectory, *pictures)
    check_apart(outputs, _inputs(options))
    for path in filter(None, outputs):
        if not Path(path).resolve().parent.is_dir():
            raise SettingError(f"there is no folder {Path(path).parent} for {path}")
    for picture in pictures:
        check_format(picture)
    if options.output:
        try:
            form = filetype(options.output, read=False)
        except UnknownFileTypeError:
            form = ""
        if form not in ioformats or not ioformats[form].can_write:
            raise SettingError(f"ASE knows no format to write {options.output} in; try .xyz or .traj")
    if options.trajectory and not options.trajectory.endswith(".traj"):
        raise SettingError(
            f"--trajectory writes ASE .traj files, not {options.trajectory}; 'ase convert' turns them into "
            "others"
        )
    if options.trajectory and not (options.opt or options.md):
        raise SettingError("--trajectory holds the frames of --opt or --md: ask for one of them")


def move(atoms: Atoms, options: argparse.Namespace) -> None:
    """Optimise, run dynamics, or both."""
    _judged(atoms, options)  # if this fails, an existing trajectory is not overwritten
    with TrajectoryWriter(options.trajectory, "w", atoms) if options.trajectory else nullcontext() as frames:
        watch = Watch(atoms, frames, options.allow_extrapolation)
        if options.opt:
            optimise(atoms, options.fmax, frames, watch)
        if options.md:
            dynamics(atoms, options, frames, watch)


def _judged(atoms: Atoms, options: argparse.Namespace) -> Verdict:
    """Compute, and print the verdict, which says all that the warnings would say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        if options.opt or options.md:
            atoms.get_forces()
        verdict: Verdict = atoms.calc.get_verdict(atoms)
    check_trust(verdict, options.allow_extrapolation)
    return verdict


def report_file(options: argparse.Namespace) -> None:
    """Write the page that the options of ``helm-ase report`` ask for, of a molecule or of a crystal.

    Raises
    ------
    StructureError
        If ASE cannot read the file.
    SettingError
        If there is no such orbital, or a package is missing.
    """
    check_apart([options.output], _inputs(options))
    if not Path(options.output).resolve().parent.is_dir():
        raise SettingError(f"there is no folder {Path(options.output).parent} for {options.output}")
    atoms = _read(options)
    atoms.calc = HELMCalculator(
        model=options.model, kpts=options.kpts, smearing=options.smearing, refine=options.refine
    )
    source = Path(parse_filename(str(options.file))[0]).name
    if atoms.pbc.any():
        from helm_ase.pictures.crystal_page import write_crystal_page

        if options.orbitals or options.no_check:
            raise SettingError(
                "--orbitals and --no-check are for molecules only: leave them out for crystals"
            )
        write_crystal_page(options.output, atoms.calc, source)
    else:
        from helm_ase.pictures.page import write_page

        shown = options.orbitals or ("homo", "lumo")
        write_page(options.output, atoms.calc, shown, not options.no_check, source=source)
    print(f"verdict  {atoms.calc.get_verdict(atoms)}\nreport: {options.output}")


def _inputs(options: argparse.Namespace) -> list[str]:
    return [parse_filename(str(options.file))[0], options.model or ""]


def _read(options: argparse.Namespace) -> Atoms:
    """Read the structure and set charge and multiplicity; of several frames, print which one is used."""
    frames = read_frames(options.file, pbc=options.pbc)
    named = parse_filename(str(options.file), None)[1] is not None
    if not frames or str(options.file).endswith(":") or (named and len(frames) != 1):
        raise StructureError(f"{options.file} names {len(frames)} frames: name one, as in FILE@0")
    atoms = frames[-1]
    if len(frames) > 1:
        print(
            f"{options.file} holds {len(frames)} structures; this is the last, number {len(frames) - 1} "
            "(others: FILE@0; all: --all-frames)"
        )
    give_state(atoms, options.charge, options.multiplicity)
    if not atoms.pbc.any() and (options.kpts or options.smearing is not None):
        raise SettingError("--kpts and --smearing are for crystals, and nothing is periodic here")
    return atoms


def optimise(atoms: Atoms, fmax: float, frames: TrajectoryWriter | None, watch: Watch) -> None:
    """Relax with BFGS, showing the largest force."""
    optimizer = BFGS(atoms, logfile=None)
    if frames is not None:
        optimizer.attach(frames.write, interval=1)
    optimizer.attach(watch, interval=1)
    with progress_bar(desc="optimising", unit="step") as bar:
        for _ in optimizer.irun(fmax=fmax, steps=500):
            force = np.linalg.norm(atoms.get_forces(), axis=1).max()
            bar.set_postfix(fmax=f"{force:.4f} eV/Å", refresh=False)
            bar.update(optimizer.nsteps - bar.n)  # the first of them is the geometry given
    state = "converged" if optimizer.converged(atoms.get_forces().ravel()) else "NOT converged"
    print(f"optimisation {state} after {optimizer.nsteps} steps")


def print_header(atoms: Atoms) -> None:
    """Print formula, model, level of theory, and charge and multiplicity where they are not 0 and 1."""
    level, state = atoms.calc.checkpoint.level, charge_state(atoms)
    shown = f"  charge {state.charge:+d}, multiplicity {state.multiplicity}" if state != (0, 1) else ""
    name, steps = atoms.calc.checkpoint.name, atoms.calc.parameters["refine"]
    name += f" + {steps} SCF step{'s' if steps > 1 else ''}" if steps else ""
    added = atoms.calc.parameters.get("dispersion")
    method = f"{level.functional.upper()}/{level.basis}" + (f" + {NAMES[added]}" if added else "")
    print(f"{atoms.get_chemical_formula()}  {name}  ({method}){shown}")


def print_energies(atoms: Atoms) -> None:
    """Print energy and forces."""
    forces = atoms.get_forces()
    print(f"\nenergy  {atoms.get_potential_energy():.6f} eV\n\nforces / eV/Å")
    for symbol, (x, y, z) in zip(atoms.symbols, forces, strict=True):
        print(f"  {symbol:<2} {x:12.6f} {y:12.6f} {z:12.6f}")


def print_vibrations(atoms: Atoms, spectrum: str | None) -> None:
    """Print harmonic frequencies, imaginary ones with an i, the zero-point energy and, at a minimum,
    thermochemistry; with a file for the spectrum, also infrared intensities."""
    slope = np.linalg.norm(atoms.get_forces(), axis=1).max()
    infrared = atoms.calc.get_infrared() if spectrum else None
    vibrations = atoms.calc.get_vibrations() if infrared is None else infrared.vibrations
    print("\nharmonic vibrations; those close to zero are translation and rotation of the whole molecule")
    print(vibrations.tabulate(), end="")
    if infrared is not None and spectrum:
        print(f"\n{intensity_table(infrared)}")
        draw_spectrum(infrared, spectrum, atoms.get_chemical_formula())
        print(f"infrared spectrum: {spectrum}")
    if slope > STATIONARY:
        print(
            f"the largest force is {slope:.3f} eV/Å: this is not a minimum, and they mean little; try --opt"
        )
    else:
        print_thermochemistry(atoms, vibrations)


def print_thermochemistry(atoms: Atoms, vibrations: VibrationsData) -> None:
    """Print enthalpy, entropy and free energy of the ideal gas, if no vibration is imaginary."""
    _, multiplicity = charge_state(atoms)
    try:
        gas = ideal_gas(vibrations, atoms.get_potential_energy(), multiplicity)
    except SettingError as error:
        print(error)
        return
    t, p = STANDARD_TEMPERATURE, STANDARD_PRESSURE
    enthalpy, entropy = gas.get_enthalpy(t, verbose=False), gas.get_entropy(t, p, verbose=False)
    print(
        f"ideal gas at {t} K and 1 bar, symmetry number 1: enthalpy H {enthalpy:.3f} eV, "
        f"entropy S {1000 * entropy:.3f} meV/K, Gibbs energy G {enthalpy - t * entropy:.3f} eV"
    )


def print_orbitals(atoms: Atoms) -> None:
    """Print the orbital table, the gap and the dipole."""
    structure = atoms.calc.get_electronic_structure()
    homo, lumo = atoms.calc.get_homo_lumo()
    print(f"\n{level_table(structure)}\n\nHOMO-LUMO gap  {lumo - homo:.3f} eV")
    dipole = float(structure.dipole().norm()) * ATOMIC_DIPOLE_IN_E_ANGSTROM / DEBYE_IN_E_ANGSTROM
    origin = " about the centre of nuclear charge" if atoms.calc.todict().get("charge") else ""
    print(f"dipole  {dipole:.3f} D{origin}")
    if lumo - homo < SMALLEST_GAP:
        print(
            f"a gap below {SMALLEST_GAP:g} eV: the ground state may be more than one determinant or, of a "
            "radical, have equal orbitals that DFT fills unequally: --refine 2 tells"
        )
