"""Errors of every molecule of a validation batch, computed from the prediction that the loss used."""

from collections.abc import Sequence

from helm_ase.dataset.sample import Sample
from helm_ase.evaluation.errors import MoleculeErrors, error_of, matrix_errors
from helm_ase.nn import HELMSettings, Prediction

NONE = float("nan")


def errors_of_batch(
    prediction: Prediction, samples: Sequence[Sample], settings: HELMSettings
) -> list[MoleculeErrors]:
    """Absolute errors of each sample; NaN of what was not predicted or has no label.

    Parameters
    ----------
    prediction
        Prediction of the batch of these samples, in their order.
    samples
        Labels.
    settings
        Settings of the model.
    """
    errors, first = [], 0
    for k, sample in enumerate(samples):
        n = len(sample.graph.z)
        energy = forces = NONE
        if prediction.energy is not None:
            energy = error_of(float(prediction.energy[k]), sample.energy)
        if prediction.forces is not None:
            predicted = prediction.forces[first : first + n].detach().cpu().double().numpy()
            forces = error_of(predicted, sample.forces.numpy())
        errors.append(_errors(prediction, k, sample, settings, energy, forces))
        first += n
    return errors


def _errors(
    prediction: Prediction, k: int, sample: Sample, settings: HELMSettings, energy: float, forces: float
) -> MoleculeErrors:
    if prediction.correction is None or not sample.has_matrix:
        atoms = len(sample.graph.z)
        return MoleculeErrors(sample.name, atoms, NONE, NONE, NONE, NONE, NONE, NONE, energy / atoms, forces)
    correction = settings.correction(prediction.correction[k], sample.overlap, len(sample.correction))
    return matrix_errors(sample, correction.numpy(), energy, forces)
