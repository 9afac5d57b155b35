"""The expansion of distances: how narrow its Gaussians are is a setting."""

import pytest
import torch

from helm_ase.errors import SettingError
from helm_ase.nn.backbone import BackboneSettings
from helm_ase.nn.radial import DistanceExpansion


@pytest.mark.parametrize("cutoff", [5.0, 12.0])
def test_one_spacing_is_the_width_on_every_cutoff(cutoff):
    settings = BackboneSettings(gaussian_spacing=0.25)
    expansion = DistanceExpansion(cutoff, settings.gaussians_on(cutoff))
    assert expansion.spacing == pytest.approx(0.25)


def test_without_a_spacing_the_number_is_the_same_on_every_cutoff():
    settings = BackboneSettings(gaussians=17)
    assert settings.gaussians_on(5.0) == settings.gaussians_on(12.0) == 17


def test_wider_gaussians_vary_more_slowly():
    def steepest(spacing):
        expansion = DistanceExpansion(5.0, BackboneSettings(gaussian_spacing=spacing).gaussians_on(5.0))
        values = expansion(torch.linspace(1.0, 4.0, 3001))
        return values.diff(dim=0).abs().max() / 1e-3

    assert steepest(0.25) < 0.4 * steepest(0.08)


@pytest.mark.parametrize("spacing", [-0.1, 3.0])
def test_a_spacing_outside_its_range_is_refused(spacing):
    with pytest.raises(SettingError, match=f"gaussian_spacing is {spacing}"):
        BackboneSettings(gaussian_spacing=spacing)
