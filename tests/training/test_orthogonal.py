"""Output in the Löwdin basis."""

from dataclasses import replace

import pytest
import torch

from helm_ase.checkpoint import read_checkpoint
from helm_ase.nn import apply_factor, trust_matrix
from helm_ase.representation.overlap import symmetric_root
from helm_ase.training.initial_model import initial_model
from helm_ase.training.run import train
from helm_ase.training.samples import open_samples
from shared.sample_labels import TINY, write_labels
from shared.small_recipes import SETTINGS, recipe, stage

pytestmark = pytest.mark.scf
ORTHOGONAL = replace(SETTINGS, orthogonal=True, trust_delta=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


def test_the_filter_is_what_the_settings_say():
    overlap = torch.tensor([[1.0, 0.4], [0.4, 1.0]], dtype=torch.float64)
    root = ORTHOGONAL.output_factor(overlap)
    torch.testing.assert_close(root @ root, overlap)
    torch.testing.assert_close(SETTINGS.output_factor(overlap), trust_matrix(overlap, SETTINGS.trust_delta))
    assert replace(SETTINGS, trust_delta=0.0).output_factor(overlap) is None


def test_scales_are_those_of_the_orthogonal_blocks(data, tmp_path):
    """On-site shifts are means of S^(−½) ΔH S^(−½), not of ΔH."""
    made = recipe(data, tmp_path, model=ORTHOGONAL)
    samples, _ = open_samples(made.data, False, 8.0, made.folder)
    plain = initial_model(replace(made, model=SETTINGS), None, samples, TINY)
    model = initial_model(made, None, samples, TINY)
    assert not torch.allclose(
        model.hamiltonian_heads[0].onsite.shift, plain.hamiltonian_heads[0].onsite.shift, rtol=1e-2
    )


def test_it_learns_and_its_checkpoint_says_so(data, tmp_path):
    path = train(recipe(data, tmp_path, stage("hamiltonian", 20), model=ORTHOGONAL))
    found = read_checkpoint(path)
    assert found.model.settings.orthogonal
    samples, _ = open_samples(recipe(data, tmp_path).data, True, 8.0, tmp_path)
    with torch.no_grad():
        for sample in samples:
            out = found.model(sample.graph, energy=False, hamiltonian=True).correction[0].double()
            h = apply_factor(out, symmetric_root(sample.overlap))
            wanted = sample.correction.double()
            assert (h - wanted).abs().mean() < 0.5 * wanted.abs().mean()
