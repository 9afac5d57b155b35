"""Give the small matrices of a model of carbon the bands of a larger basis.

    python carbon_labels.py carbon_dzvp.h5 --basis gth-dzvp-molopt-sr
    python carbon_upscale.py carbon_dzvp.h5 carbon.h5 carbon.safetensors upscaled.safetensors --minutes 10

The second file holds the same frames in the model's own basis.  Printed are mean absolute errors of valence
bands and of the four lowest conduction bands against those of the larger basis, over frames of the split
``val``, at the points of their meshes: of the small basis itself (a converged calculation), of the model
before, and of the model after.
"""

import argparse

import torch

from helm_ase.checkpoint import Checkpoint, load_model
from helm_ase.labels.crystals import CrystalSource
from helm_ase.training.crystal_upscaling import UpscalingSample, band_errors, upscale, upscaling_sample
from helm_ase.training.crystals import CrystalTraining
from helm_ase.training.recipe import OptimiserSettings
from helm_ase.units import HARTREE_IN_EV


def unseen(path: str, model: Checkpoint, virtuals: int) -> dict[str, UpscalingSample]:
    """Samples of the split ``val`` by the names of their frames."""
    source = CrystalSource(path)
    return {x.name: upscaling_sample(x, source.level, model, virtuals) for x in source if x.split == "val"}


def of_small_basis(larger: dict[str, UpscalingSample], small: dict[str, UpscalingSample]) -> str:
    """Errors of converged calculations in the small basis, of the frames that both files hold."""
    found = []
    for name in larger.keys() & small.keys():
        one, other = larger[name], small[name]
        if one.kpts.shape != other.kpts.shape or not torch.allclose(one.kpts, other.kpts):
            continue
        count = min(one.levels.shape[1], other.levels.shape[1])
        errors = 1000 * HARTREE_IN_EV * (other.levels - one.levels)[:, :count].abs()
        found.append([float(x.mean()) for x in (errors[:, : one.occupied], errors[:, one.occupied :])])
    occupied, virtual = torch.tensor(found).mean(0).tolist()
    return f"occupied {occupied:.0f} meV, virtual {virtual:.0f} meV ({len(found)} frames)"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("larger", metavar="LARGER.h5", help="labels in the larger basis")
    parser.add_argument("small", metavar="SMALL.h5", help="labels of the same frames in the model's basis")
    parser.add_argument("start", metavar="MODEL.safetensors")
    parser.add_argument("output", metavar="UPSCALED.safetensors")
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time (10)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (0.001)")
    options = parser.parse_args()
    start = load_model(options.start)
    settings = CrystalTraining(
        "upscaled", epochs=100_000, minutes=options.minutes,
        optimiser=OptimiserSettings(learning_rate=options.rate, averaging=0.99),
    )  # fmt: skip
    upscaled, history = upscale(options.larger, start, options.output, settings, progress=True)
    frames = unseen(options.larger, start, settings.virtuals)
    print("small basis:", of_small_basis(frames, unseen(options.small, start, settings.virtuals)))
    for title, model in (("H0", None), ("model before", start.model), ("model after", upscaled.model)):
        errors = band_errors(model, list(frames.values()))
        if errors is not None:
            print(f"{title}: occupied {errors.occupied:.0f} meV, virtual {errors.virtual:.0f} meV")
