"""Properties of a batch of structures in one pass of the network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint, load_shared
from helm_ase.errors import HelmError, PredictionError, SettingError, StructureError
from helm_ase.nn import HELM
from helm_ase.nn.placement import placed
from helm_ase.prediction.dispersion import added_energy
from helm_ase.prediction.domain import (
    Extrapolation,
    ExtrapolationMemory,
    Uncertainty,
    check_molecule,
    check_trained,
    extrapolation_of,
    uncertainty_of,
    warn_about_bonds,
    warn_about_distances,
)  # fmt: skip
from helm_ase.prediction.electronic import ElectronicPrediction, finish_electronic_structure, levels_of
from helm_ase.prediction.verdict import Verdict, judge
from helm_ase.representation.charge_state import ChargeState, charge_state
from helm_ase.representation.energy_baseline import EnergyMethod
from helm_ase.representation.graph import AtomicGraph, batch_graphs, bounded_batches
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

OF_ENERGY = ("energy", "forces")
OF_NETWORK = ("features",)
"""Properties that need neither the energy baseline nor orbitals."""
OF_HAMILTONIAN = ("dipole", "charges", "eigenvalues", "gap", "hamiltonian")
"""Properties that need orbitals, solved for one structure after another."""

LOAD = {"cpu": 600}
"""Atoms and pairs of a batch by kind of device: on a CPU larger ones fall out of its caches."""
LOAD_ELSEWHERE = 30_000


@dataclass(frozen=True)
class StructurePrediction:
    """Results for one structure; quantities that were not requested are None."""

    index: int
    """Place of the structure among those given, from 0."""
    energy: float | None = None
    """eV."""
    forces: NDArray[np.float64] | None = None
    """eV/Å, (N, 3)."""
    dipole: NDArray[np.float64] | None = None
    """e·Å, about the origin of the coordinates, (3,)."""
    charges: NDArray[np.float64] | None = None
    """Mulliken charges, e, (N,)."""
    eigenvalues: NDArray[np.float64] | None = None
    """Orbital energies, eV, (M,), or (2, M) of an open shell."""
    gap: float | None = None
    """LUMO − HOMO, eV."""
    hamiltonian: NDArray[np.float64] | None = None
    """Hartree, PySCF AO order, (A, A), or (2, A, A) of an open shell."""
    features: NDArray[np.float64] | None = None
    """Last hidden layer of the energy head, (N, F), from which the error bar is computed."""
    verdict: Verdict | None = None
    """Whether to trust the answer, and why: from bonds and distances and, where they were asked for, from the
    error bar of the energy and the gap."""
    error: HelmError | None = None
    """Reason why the structure could not be computed; None if it could."""


@dataclass(frozen=True)
class Task:
    """Copy of a structure that the model supports; later changes by the caller have no effect."""

    index: int
    atoms: Atoms
    """Elements and positions."""
    state: ChargeState
    graph: AtomicGraph
    extrapolation: Extrapolation
    """Features of the geometry that did not occur in training."""

    @property
    def load(self) -> int:
        """Atoms and pairs: what the network's time and memory go with."""
        return self.graph.load


class BatchEngine:
    """From structures to answers, a batch at a time."""

    def __init__(
        self, checkpoint: Checkpoint, model: HELM, tight_binding: EnergyMethod | None,
        properties: frozenset[str], batch: int | Literal["auto"] = "auto",
        state: tuple[int | None, int | None] = (None, None),
    ) -> None:  # fmt: skip
        self.checkpoint, self.model, self.tight_binding = checkpoint, model, tight_binding
        self.properties, self.state = properties, state
        kind = model.energy_reference.device.type
        self.max_load = LOAD.get(kind, LOAD_ELSEWHERE) if batch == "auto" else int(batch)
        self.matrices = bool(properties & set(OF_HAMILTONIAN))
        self.energies = bool(properties & set(OF_ENERGY))
        self.features = bool(properties & set(OF_NETWORK))
        self.cutoff = model.cutoff if self.matrices else model.settings.backbone.cutoff
        self.warned: set[tuple[int, int, int]] = set()
        self.faults: set[tuple[int, ...]] = set()
        self.bars = ExtrapolationMemory()

    @classmethod
    def of(
        cls,
        model: str | Path | Checkpoint | None,
        properties: Sequence[str],
        batch: int | Literal["auto"] = "auto",
        *,
        device: str | None = None,
        dtype: str = "float32",
        state: tuple[int | None, int | None] = (None, None),
        dispersion: str | None = None,
    ) -> "BatchEngine":
        """Load a model for some properties; arguments and errors are those of
        :func:`~helm_ase.prediction.many.predict_many`, ``state`` is charge and multiplicity."""
        wanted = _checked(properties)
        if batch != "auto" and not (isinstance(batch, int) and batch > 0):
            raise SettingError(
                f'batch is {batch!r}; it must be "auto" or a positive number of atoms and pairs'
            )
        checkpoint = model if isinstance(model, Checkpoint) else load_shared(model)
        for quantity, names in (("energy", OF_ENERGY + OF_NETWORK), ("hamiltonian", OF_HAMILTONIAN)):
            if wanted & set(names):
                check_trained(checkpoint, quantity)
        network = placed(checkpoint.model, device, dtype)
        return cls(checkpoint, network, added_energy(checkpoint, dispersion), wanted, batch, state)

    def prepare(self, index: int, structure: Atoms) -> Task | StructurePrediction:
        """Check a structure, and turn it into a graph, or into an answer with its error."""
        try:
            if not isinstance(structure, Atoms):
                raise StructureError(f"structure {index} is no Atoms object but {type(structure).__name__}")
            state = charge_state(structure, *self.state)
            check_molecule(structure, self.checkpoint, state)
            name, unseen = self.checkpoint.name, extrapolation_of(structure, self.checkpoint, state)
            self.warned = warn_about_distances(name, unseen.distances, self.warned)
            self.faults |= warn_about_bonds(name, unseen.faults, state, self.faults)
        except HelmError as error:
            return StructurePrediction(index, error=error)
        atoms = Atoms(structure.numbers, structure.positions)
        graph = AtomicGraph.from_arrays(atoms.numbers, atoms.positions, self.cutoff, *state)
        return Task(index, atoms, state, graph, unseen)

    def run_all(self, structures: Sequence[Atoms]) -> list[StructurePrediction]:
        """Answers for some structures in their order.

        Raises
        ------
        HelmError
            The error of the first structure that cannot be computed.
        """
        tasks = []
        for k, structure in enumerate(structures):
            task = self.prepare(k, structure)
            if isinstance(task, StructurePrediction):
                assert task.error is not None
                raise task.error
            tasks.append(task)
        answers = [answer for batch in batches(tasks, self.max_load) for answer in self.run(batch)]
        for answer in answers:
            if answer.error is not None:
                raise answer.error
        return sorted(answers, key=lambda answer: answer.index)

    def run(self, batch: Sequence[Task]) -> list[StructurePrediction]:
        """Answers for a batch; where memory is short, for its halves."""
        try:
            answers, features = self._network(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                error = PredictionError("the device has too little memory for this structure")
                return [StructurePrediction(batch[0].index, error=error)]
            half = len(batch) // 2
            return [*self.run(batch[:half]), *self.run(batch[half:])]
        results = [self._finished(task, *result) for task, result in zip(batch, answers, strict=True)]
        return [
            result if result.error else self._judged(result, task, row)
            for result, task, row in zip(results, batch, features, strict=True)
        ]

    def _judged(
        self, answer: StructurePrediction, task: Task, features: torch.Tensor | None
    ) -> StructurePrediction:
        """The same answer with its verdict and, if they were asked for, its features (N, F)."""
        bar: Uncertainty | None = None
        if features is not None and self.energies:
            bar = uncertainty_of(self.checkpoint, features, len(task.atoms), task.state, self.bars)
        verdict = judge(task.extrapolation, task.state, bar, gap=answer.gap)
        own = features.numpy() if self.features and features is not None else None
        return replace(answer, verdict=verdict, features=own)

    def _network(
        self, batch: Sequence[Task]
    ) -> tuple[list[tuple[float, Any, torch.Tensor | None]], Sequence[torch.Tensor | None]]:
        """Energy (eV), forces (eV/Å, (N, 3)) and the output for ΔH of each, and its features, (N, F)."""
        with torch.inference_mode(False), torch.no_grad():  # forces switch autograd on by themselves
            graph = batch_graphs([task.graph for task in batch]).to(self.model.energy_reference.device)
            out = self.model(
                graph,
                energy=self.energies or self.features,
                forces="forces" in self.properties,
                hamiltonian=self.matrices,
            )
        energies = [float("nan")] * len(batch) if out.energy is None else out.energy.tolist()
        forces: list[Any] = [None] * len(batch)
        if out.forces is not None:
            ends = np.cumsum([len(task.atoms) for task in batch])
            forces = np.split(out.forces.detach().cpu().numpy().astype(np.float64), ends[:-1])
        matrices: list[torch.Tensor | None] = [None] * len(batch)
        if out.correction is not None:
            matrices = list(out.correction.cpu())
        features: Sequence[torch.Tensor | None] = [None] * len(batch)
        if out.energy_features is not None:
            features = out.energy_features.double().cpu().split([len(task.atoms) for task in batch])
        return list(zip(energies, forces, matrices, strict=True)), features

    def _finished(
        self, task: Task, energy: float, forces: NDArray[np.float64] | None, correction: torch.Tensor | None
    ) -> StructurePrediction:
        answer = StructurePrediction(task.index)
        try:
            if self.energies:
                answer = self._with_energy(answer, task, energy, forces)
            if correction is not None:
                electronic = finish_electronic_structure(
                    self.model, self.checkpoint, task.atoms, task.state, correction, self.tight_binding
                )
                answer = self._with_orbitals(answer, electronic)
        except HelmError as error:
            return StructurePrediction(task.index, error=error)
        return answer

    def _with_energy(
        self, answer: StructurePrediction, task: Task, energy: float, forces: NDArray[np.float64] | None
    ) -> StructurePrediction:
        if self.tight_binding is not None:
            baseline = self.tight_binding(task.atoms.numbers, task.atoms.positions, *task.state)
            energy += baseline.energy * HARTREE_IN_EV
            if forces is not None:
                forces = forces - baseline.gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
        if not (np.isfinite(energy) and (forces is None or np.isfinite(forces).all())):
            raise PredictionError("the network returned an energy or force that is not finite")
        return replace(answer, energy=energy, forces=None if forces is None else forces.copy())

    def _with_orbitals(
        self, answer: StructurePrediction, electronic: ElectronicPrediction
    ) -> StructurePrediction:
        compute: dict[str, Callable[[], Any]] = {
            "dipole": lambda: electronic.dipole,
            "charges": lambda: electronic.charges,
            "eigenvalues": lambda: levels_of(electronic),
            "gap": lambda: float(electronic.structure.gap) * HARTREE_IN_EV,
            "hamiltonian": lambda: electronic.hamiltonian.copy(),
        }
        return replace(answer, **{name: compute[name]() for name in compute if name in self.properties})


def _checked(properties: Sequence[str]) -> frozenset[str]:
    wanted = frozenset([properties] if isinstance(properties, str) else properties)
    known = (*OF_ENERGY, *OF_HAMILTONIAN, *OF_NETWORK)
    if not wanted or wanted - set(known):
        unknown = ", ".join(sorted(wanted - set(known))) or "nothing"
        raise SettingError(f"predict_many cannot predict {unknown}; there are {', '.join(known)}")
    return wanted


def batches(tasks: list[Task], max_load: int) -> Iterator[list[Task]]:
    """Structures of similar size together, the largest first: if memory is short, it shows at once."""
    yield from bounded_batches(sorted(tasks, key=lambda task: -task.load), max_load)
