"""What the boards compare: a model by its three kinds of energy, and GFN2-xTB.

A method answers for a :class:`~helm_ase.representation.structure.Structure`, or says None where it cannot: an
element, a charge or a spin that it does not know, charges or levels that go astray.
"""

import json
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase import HELMCalculator
from helm_ase.errors import HelmError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.source import LabelSource
from helm_ase.prediction.domain import ExtrapolationWarning
from helm_ase.qc.tight_binding import TightBinding, with_parameters
from helm_ase.representation import LabelledMolecule
from helm_ase.representation.connectivity import graph_hash, molecule_hash
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.structure import Structure
from helm_ase.sampling import from_smiles
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

FORMER = "helm-hcnof-2"
"""The model that a new one is compared with."""


def structure_of(label: LabelledMolecule) -> Structure:
    """Geometry and state of a label."""
    return Structure(label.name, label.numbers, label.positions, label.charge, label.multiplicity)


def answer(work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or None where the method cannot answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        try:
            return work()
        except HelmError:
            return None


class Model:
    """A checkpoint."""

    def __init__(self, name: str | None) -> None:
        self.calc = HELMCalculator(name)
        self.name, self.identity = self.calc.checkpoint.name, self.calc.checkpoint.sha256

    def energy(self, structure: Structure, kind: str = "head") -> float | None:
        """eV, by the energy head, as ``E[D(H)]`` or after ``refine(n)``."""
        return answer(lambda: self._energy(structure, kind))

    def _energy(self, structure: Structure, kind: str) -> float:
        atoms = self.atoms(structure)
        if kind == "head":
            return float(self.calc.get_property("energy", atoms))
        if kind == "E[D(H)]":
            return self.calc.get_functional_energy(atoms)
        return self.calc.refine(int(kind.removeprefix("refine(")[:-1]), atoms=atoms).energy

    def forces(self, structure: Structure) -> NDArray[np.float64] | None:
        """eV/Å, (N, 3)."""
        return answer(lambda: self.calc.get_property("forces", self.atoms(structure)))

    def electronic_structure(self, structure: Structure) -> Any:
        """Of the predicted Hamiltonian."""
        return answer(lambda: self.calc.get_electronic_structure(self.atoms(structure)))

    @staticmethod
    def atoms(structure: Structure) -> Atoms:
        state = {"charge": structure.charge, "multiplicity": structure.multiplicity}
        return Atoms(structure.numbers, structure.positions, info=state)


class Xtb:
    """GFN2-xTB as published, with its dispersion."""

    name = identity = "GFN2-xTB"

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], TightBinding] = {}

    def energy(self, structure: Structure, kind: str = "head") -> float | None:
        """eV."""
        found = answer(lambda: self._run(structure))
        return None if found is None else float(found.energy * HARTREE_IN_EV)

    def forces(self, structure: Structure) -> NDArray[np.float64] | None:
        """eV/Å, (N, 3)."""
        found = answer(lambda: self._run(structure))
        return None if found is None else -found.gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

    def _run(self, structure: Structure) -> Any:
        elements = tuple(sorted(set(structure.numbers.tolist())))
        if elements not in self._made:
            published = with_parameters(EnergyBaseline("gfn2-xtb", dispersion=True), elements)
            self._made[elements] = TightBinding(published)
        return self._made[elements](
            structure.numbers, structure.positions, structure.charge, structure.multiplicity
        )


def check_level(source: LabelSource, model: Model) -> None:
    """Stop where labels and model are of different levels."""
    if source.level.physical != model.calc.checkpoint.level.physical:
        raise SystemExit(f"{source.path} is of another level of theory than model {model.name}")


class Energies:
    """Energies in eV by method, kind and structure; with a file, an interrupted run goes on.

    Parameters
    ----------
    path
        JSON lines; None keeps nothing.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path, self.known = None if path is None else Path(path), {}
        if self.path is not None and self.path.exists():
            for line in self.path.read_text().splitlines():
                *where, energy = json.loads(line)
                self.known[tuple(where)] = energy

    def __call__(self, method: Model | Xtb, structure: Structure, kind: str = "head") -> float | None:
        where = (method.identity, kind, structure.key)
        if where not in self.known:
            self.known[where] = method.energy(structure, kind)
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([*where, self.known[where]]) + "\n")
        return self.known[where]


def trained_graphs(paths: Sequence[str]) -> set[str]:
    """Molecular graphs of the split ``train``: of SMILES, or of the geometry where there is none."""
    graphs, known = set(), set()
    for path in paths:
        with open_labels(path) as source:
            for k in range(len(source)):
                smiles = source.smiles_of(k)
                if source.split_of(k) != "train" or (smiles and smiles in known):
                    continue
                known.add(smiles)
                graphs |= graphs_of_smiles(smiles) if smiles else {graph_of(structure_of(source[k]))}
    return graphs


def graphs_of_smiles(smiles: str) -> set[str]:
    """Graphs of all parts and of the whole."""
    graphs = set()
    for part in {smiles, *smiles.split(".")}:
        try:
            made = from_smiles(part)
        except HelmError:
            continue
        graphs.add(graph_hash(made.numbers, made.bonds, made.charge))
    return graphs


def graph_of(structure: Structure) -> str:
    return molecule_hash(structure.numbers, structure.positions, structure.charge)


def models_of(names: Sequence[str] | None) -> list[Model]:
    """Models by name or path (None: the default), and the former default behind them."""
    models = [Model(name) for name in names or [None]]
    models += [] if FORMER in (m.name for m in models) else [Model(FORMER)]
    for model in models:
        if sum(m.name == model.name for m in models) > 1:
            model.name += f" {model.identity[:8]}"
    return models


def add_energy_options(parser: ArgumentParser) -> None:
    """Which kinds of energy, where to keep them, where to write."""
    parser.add_argument("--density", action="store_true", help="also E[D(H)], one Fock matrix a structure")
    parser.add_argument("--refine", type=int, metavar="N", help="also the energy after N SCF steps")
    parser.add_argument("--cache", help="file of JSON lines that keeps energies, for a run that goes on")
    add_outputs(parser)


def add_outputs(parser: ArgumentParser) -> None:
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--markdown", help="write the report to this file")


def energy_kinds(options: Namespace) -> list[str]:
    kinds = ["head", *(["E[D(H)]"] if options.density else [])]
    return kinds + ([f"refine({options.refine})"] if options.refine else [])


def publish(report: str, results: Any, options: Namespace) -> None:
    """Print the report and write what was asked for."""
    print(report)
    if options.markdown:
        Path(options.markdown).write_text(report + "\n")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
