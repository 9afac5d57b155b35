"""Selection, from a pool of unlabelled structures, of those most worth labelling."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import write
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint, load_shared
from helm_ase.errors import HelmError, PredictionError, SettingError, StructureError
from helm_ase.labelling.selection import Candidates, Choice, choose, whiten
from helm_ase.nn.placement import placed
from helm_ase.prediction.batch_engine import StructurePrediction
from helm_ase.prediction.domain import check_trained
from helm_ase.prediction.electronic import predict_electronic_structure
from helm_ase.prediction.energy_baseline import tight_binding_of
from helm_ase.prediction.many import predict_many
from helm_ase.representation.charge_state import charge_state
from helm_ase.representation.labelled import structure_key
from helm_ase.representation.level import differences
from helm_ase.representation.structure_files import read_frames
from helm_ase.system.atomic_write import whole_file
from helm_ase.units import HARTREE_IN_EV

REFUSED = ".refused.xyz"
"""Ending of the file of structures that cannot be assessed."""


@dataclass(frozen=True)
class SelectionSettings:
    """Settings of a selection: how many structures, and by which uncertainty."""

    count: int
    """Number of structures to choose."""
    model: str | None = None
    """Model that gives the features and, where it has one, the error bar; None: the default."""
    committee: tuple[str, ...] = ()
    """Further models of the same level of theory, whose energies are compared with those of the first."""
    functional_energy: bool = False
    """Whether energies are also compared with E[D(H)], which takes one Fock matrix for each structure."""
    diverse: bool = True
    """Whether similar structures, from which a model would learn the same, are avoided."""
    device: str | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SettingError(f"{self.count} structures to select; there must be at least 1")


@dataclass(frozen=True)
class AssessedStructure:
    """Structure of a pool with the uncertainty that the models give it."""

    atoms: Atoms
    key: str
    """Fingerprint of geometry and state; empty if it has no possible one."""
    error_bar: float | None = None
    """Error bar of the model, eV/atom."""
    spread: float | None = None
    """Standard deviation of the committee's energies, eV/atom."""
    functional: float | None = None
    """|E − E[D(H)]|, eV/atom."""
    features: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Whitened features of the last layer, (F,)."""
    error: str = ""
    """Reason why the models cannot compute it; empty if they can."""

    @property
    def uncertainty(self) -> float:
        """u² is the sum of the squares of what is known; 1 if nothing is."""
        known = [x for x in (self.error_bar, self.spread, self.functional) if x is not None]
        return float(np.sqrt(np.sum(np.square(known)))) if known else 1.0


@dataclass(frozen=True)
class Selection:
    """Result of a selection: the chosen structures, most valuable first, and the numbers of all others."""

    chosen: list[tuple[AssessedStructure, Choice]]
    refused: list[AssessedStructure]
    pool: int
    """Number of structures that were given."""
    labelled: int
    """Number of structures that have a label already, or occur in the pool twice."""


def read_pool(paths: Sequence[str | Path]) -> list[Atoms]:
    """All frames of all files; one without a name is called after its file, as ``helm-ase label`` does.

    Raises
    ------
    StructureError
        If a file cannot be read, or there is no frame.
    """
    pool = []
    for path in map(Path, paths):
        for number, atoms in enumerate(read_frames(path)):
            atoms.info.setdefault("name", f"{path.stem}-{number:06d}")
            pool.append(atoms)
    if not pool:
        raise StructureError(f"there are no structures in {', '.join(map(str, paths))}")
    return pool


def select(
    pool: Sequence[Atoms], settings: SelectionSettings, labelled: frozenset[str] = frozenset()
) -> Selection:
    """Choose the structures most worth labelling; the order of the pool does not matter.

    Parameters
    ----------
    pool
        Unlabelled structures.
    settings
        How many, and by what.
    labelled
        Keys of structures that have a label.

    Raises
    ------
    SettingError
        If nothing tells structures apart: no error bar, no other model, no E[D(H)], and no diversity.
    CheckpointError
        If a model cannot be loaded.
    PredictionError
        If no structure can be judged.
    """
    checkpoint = load_shared(settings.model)
    others = [load_shared(name) for name in settings.committee]
    _check_models(checkpoint, others, settings)
    fresh, refused = _fresh(pool, labelled)
    judged, more = judge_pool(fresh, checkpoint, others, settings)
    refused += more
    if fresh and not judged:
        raise PredictionError(f"none of {len(fresh)} structures can be judged: {refused[0].error}")
    candidates = Candidates(
        np.array([j.uncertainty for j in judged]),
        _features(judged, checkpoint),
        [_kind(j.atoms) for j in judged],
    )
    chosen = choose(candidates, settings.count, settings.diverse)
    left_out = len(pool) - len(judged) - len(refused)
    return Selection([(judged[c.index], c) for c in chosen], refused, len(pool), left_out)


def _check_models(checkpoint: Checkpoint, others: Sequence[Checkpoint], settings: SelectionSettings) -> None:
    nothing = checkpoint.uncertainty is None and not others and not settings.functional_energy
    if nothing and not settings.diverse:
        raise SettingError(
            f"model {checkpoint.name!r} has no error bar (helm-ase calibrate makes one): name other models "
            "to compare with, or select by diversity"
        )
    if len({c.sha256 for c in (checkpoint, *others)}) < 1 + len(others):
        raise SettingError("the committee holds one model twice: it would agree with itself")
    for other in others:
        if different := differences(checkpoint.level.physical, other.level.physical):
            raise SettingError(
                f"{checkpoint.name} and {other.name} have learnt different levels of theory ({different}): "
                "their energies cannot be compared"
            )


def _fresh(
    pool: Sequence[Atoms], labelled: frozenset[str]
) -> tuple[list[AssessedStructure], list[AssessedStructure]]:
    """Structures without label, each once, in an order that does not depend on that of the pool.

    Batches of the network change its numbers in the last digits; with this order equal pools give equal ones.
    """
    fresh: dict[str, AssessedStructure] = {}
    refused = []
    for atoms in pool:
        try:
            if atoms.pbc.any():
                raise StructureError("it is periodic; for a molecule in a box set atoms.pbc = False")
            key = structure_key(atoms.numbers, atoms.positions, *charge_state(atoms))
        except HelmError as error:
            refused.append(AssessedStructure(atoms, "", error=str(error)))
            continue
        if key not in labelled:
            fresh.setdefault(key, AssessedStructure(atoms, key))
    return [fresh[key] for key in sorted(fresh)], refused


def judge_pool(
    pool: Sequence[AssessedStructure],
    checkpoint: Checkpoint,
    others: Sequence[Checkpoint],
    settings: SelectionSettings,
) -> tuple[list[AssessedStructure], list[AssessedStructure]]:
    """Assess all structures with the models, in batches; those that cannot be computed are returned
    separately."""
    structures = [j.atoms for j in pool]
    compared = bool(others) or settings.functional_energy
    wanted = ["features", *(["energy"] if compared else [])]

    def ask(model: Checkpoint, properties: list[str]) -> list[StructurePrediction]:
        predictions = predict_many(
            structures, properties, model, device=settings.device, progress=settings.progress
        )
        return list(predictions)

    members = zip(ask(checkpoint, wanted), *(ask(other, ["energy"]) for other in others), strict=True)
    functional = _FunctionalEnergy(checkpoint, settings.device) if settings.functional_energy else None
    judged, refused = [], []
    for structure, answers in zip(pool, members, strict=True):
        try:
            judged.append(_judge(structure, answers, checkpoint, functional))
        except HelmError as error:
            refused.append(replace(structure, error=str(error)))
    return judged, refused


def _judge(
    structure: AssessedStructure, answers: Sequence[StructurePrediction], checkpoint: Checkpoint,
    functional: "_FunctionalEnergy | None",
) -> AssessedStructure:  # fmt: skip
    """What the answers of all models say; raises the error of one that has none."""
    for answer in answers:
        if answer.error is not None:
            raise answer.error
    features, size = answers[0].features, len(structure.atoms)
    assert features is not None
    judged = replace(structure, features=features.mean(0))
    if checkpoint.uncertainty is not None:
        states = torch.tensor([tuple(charge_state(structure.atoms))])
        bar = checkpoint.uncertainty.per_atom(torch.from_numpy(features), torch.tensor([size]), states)
        judged = replace(judged, error_bar=float(bar[0]))
    energies = [answer.energy for answer in answers if answer.energy is not None]
    if len(answers) > 1:
        judged = replace(judged, spread=float(np.std(energies, ddof=1)) / size)
    if functional is not None:
        judged = replace(judged, functional=abs(functional(structure.atoms) - energies[0]) / size)
    return judged


class _FunctionalEnergy:
    """E[D(H)] of one structure after another, eV."""

    def __init__(self, checkpoint: Checkpoint, device: str | None) -> None:
        check_trained(checkpoint, "hamiltonian")
        self.checkpoint, self.model = checkpoint, placed(checkpoint.model, device, "float32")
        self.tight_binding = tight_binding_of(checkpoint)

    def __call__(self, atoms: Atoms) -> float:
        prediction = predict_electronic_structure(
            self.model, self.checkpoint, atoms, charge_state(atoms), self.tight_binding
        )
        return prediction.first_step.energy * HARTREE_IN_EV


def _features(judged: Sequence[AssessedStructure], checkpoint: Checkpoint) -> NDArray[np.float64]:
    """In the metric of the training set, or of the pool where the model has no error bar, (M, F)."""
    if not judged:
        return np.zeros((0, 1))
    features = np.stack([j.features for j in judged])
    bar = checkpoint.uncertainty
    if bar is None:
        return whiten(features)
    metric = bar.whitening if bar.metric is None else bar.metric
    return np.asarray(features @ metric.numpy().T)


def _kind(atoms: Atoms) -> tuple[object, ...]:
    return (*sorted(atoms.numbers.tolist()), *charge_state(atoms))


# -- files --------------------------------------------------------------------------------------------------


def write_selection(selection: Selection, path: str | Path) -> Path | None:
    """Write the chosen structures, and beside them those that cannot be judged; both appear whole.

    Parameters
    ----------
    selection
        What :func:`select` chose.
    path
        Extended XYZ; ``atoms.info`` of a chosen structure holds its rank and what is known of its error.

    Returns
    -------
    Path or None
        File of the refused structures, ``PATH.refused.xyz``; None if there are none.
    """
    frames = [_chosen_frame(rank, *choice) for rank, choice in enumerate(selection.chosen, 1)]
    with whole_file(path) as partial:
        write(partial, frames, format="extxyz")
    if not selection.refused:
        return None
    beside = Path(f"{path}{REFUSED}")
    with whole_file(beside) as partial:
        write(partial, [_plain(j.atoms, refused=j.error) for j in selection.refused], format="extxyz")
    return beside


def _chosen_frame(rank: int, judged: AssessedStructure, choice: Choice) -> Atoms:
    facts = {
        "error_bar": judged.error_bar, "committee_spread": judged.spread,
        "functional_difference": judged.functional, "remaining_uncertainty": choice.remaining,
    }  # fmt: skip
    known = {name: round(value, 6) for name, value in facts.items() if value is not None}
    return _plain(judged.atoms, selection_rank=rank, **known)


def _plain(atoms: Atoms, **facts: object) -> Atoms:
    """Geometry and info without results, which a pool from dynamics would carry along."""
    made = Atoms(atoms.numbers, atoms.positions, pbc=atoms.pbc, cell=atoms.cell)
    for name in ("initial_charges", "initial_magmoms"):  # they may state charge and spin
        if name in atoms.arrays:
            made.set_array(name, atoms.arrays[name].copy())
    made.info = dict(atoms.info) | facts
    return made
