"""Batches made on the device are those that the host would make."""

import pytest
import torch

from helm_ase.dataset.batch import collate
from helm_ase.nn import HELMSettings
from helm_ase.training.batches import SharedBatches
from helm_ase.training.resident import ResidentBatches, ResidentSamples
from shared.labelled_samples import broken_sample, sample

NAMES = ("H2O", "CH3", "CH4", "O2")


@pytest.fixture(scope="module")
def samples():
    return [sample(name) for name in NAMES]


@pytest.mark.parametrize("settings", [HELMSettings(), HELMSettings(trust_delta=0.0)])
@pytest.mark.parametrize("chosen", [[0], [2, 0], [1, 3, 0], [3, 2, 1, 0]])
def test_a_batch_equals_the_collated_one(samples, settings, chosen):
    resident = ResidentSamples(samples, settings, torch.device("cpu"))
    found = resident.batch(chosen)
    picked = [samples[k] for k in chosen]
    filters = [settings.output_factor(s.overlap) for s in picked]
    wanted = collate(picked, None if filters[0] is None else [f.float() for f in filters], share=True)
    for name in ("energy", "forces", "correction", "orbitals", "orbital_count", "ao_count", "output_factor"):
        mine, theirs = getattr(found, name), getattr(wanted, name)
        assert (mine is None and theirs is None) or torch.equal(mine, theirs), name
    for name in ("z", "pos", "charge", "multiplicity", "pair_index", "batch", "group"):
        assert torch.equal(getattr(found.graph, name), getattr(wanted.graph, name)), name


def test_batches_of_an_epoch_hold_every_sample_once(samples):
    resident = ResidentSamples(samples, HELMSettings(), torch.device("cpu"))
    shared = SharedBatches(torch.tensor([s.load for s in samples]).numpy(), 30, seed=0)
    batches = list(ResidentBatches(resident, shared))
    assert len(batches) == len(ResidentBatches(resident, shared))
    assert sum(len(b.energy) for b in batches) == len(samples)


def test_singlets_of_broken_symmetry_are_masked_as_on_the_host(samples):
    mixed = [samples[0], broken_sample("CH4")]
    resident = ResidentSamples(mixed, HELMSettings(), torch.device("cpu"))
    for chosen in ([0], [1], [1, 0]):
        found, wanted = resident.batch(chosen), collate([mixed[k] for k in chosen])
        assert torch.equal(found.correction, wanted.correction)
        mine, theirs = found.matrix_known, wanted.matrix_known
        assert (mine is None and theirs is None) or torch.equal(mine, theirs)
