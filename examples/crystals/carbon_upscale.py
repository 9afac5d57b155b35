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
from helm_ase.dataset.crystals import make_crystal_sample
from helm_ase.electronic.band_levels import levels
from helm_ase.labels.crystals import CrystalSource
from helm_ase.training.crystal_upscaling import UpscalingSample, band_errors, upscale, upscaling_sample
from helm_ase.training.crystals import CrystalTraining
from helm_ase.training.recipe import OptimiserSettings
from helm_ase.units import HARTREE_IN_EV


def unseen(path: str, model: Checkpoint, virtuals: int) -> list[UpscalingSample]:
    """Samples of the split ``val``."""
    source = CrystalSource(path)
    return [upscaling_sample(x, source.level, model, virtuals) for x in source if x.split == "val"]


def of_small_basis(larger: list[UpscalingSample], path: str, model: Checkpoint) -> str:
    """Errors of converged calculations in the small basis, of the frames that both files hold."""
    source, found = CrystalSource(path), []
    small = {label.name: label for label in source}
    operators, cutoff = model.baseline.operators, model.model.cutoff
    for one in larger:
        if one.name in small:
            sample = make_crystal_sample(small[one.name], source.level, model.basis, operators, cutoff)
            h, s, _ = sample.reference(one.kpts)  # the mesh of the larger basis is finer
            other = levels(h, s)[:, : one.levels.shape[1]]
            errors = 1000 * HARTREE_IN_EV * (other - one.levels[:, : other.shape[1]]).abs()
            found.append([float(x.mean()) for x in (errors[:, : one.occupied], errors[:, one.occupied :])])
    if not found:
        return "no frame is in both files"
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
    print("small basis:", of_small_basis(frames, options.small, start))
    for title, model in (("H0", None), ("model before", start.model), ("model after", upscaled.model)):
        errors = band_errors(model, frames)
        if errors is not None:
            print(f"{title}: occupied {errors.occupied:.0f} meV, virtual {errors.virtual:.0f} meV")
