"""Water at 300 K for the study water-500: PBE molecular dynamics, splits, PBE/def2-SVP labels.

    python make_water.py FOLDER [--orientation fixed] [--workers N]

1. PBE energies at random geometries give the potential as a polynomial in both bond lengths and the angle.
2. Langevin dynamics on it, many independent trajectories at once.  Their autocorrelation says after which
   time bond lengths and angle have forgotten their values; a frame is kept every such time.
3. Whole trajectories go to train, val and test: no frame has a neighbour in time in another part.
4. Every frame is turned at random (``fixed``: laid into the xz plane, z halving the angle).
5. ``helm-ase label`` writes FOLDER/water.h5; the same command goes on after an interruption.

FOLDER/water.json says what was measured on the way.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from scipy.spatial.transform import Rotation

from helm_ase.cli import main as helm_ase
from helm_ase.qc.level import kohn_sham, pyscf_level
from helm_ase.qc.molecule import build_mole
from helm_ase.units import HARTREE_IN_EV

LEVEL = ["--xc", "pbe", "--basis", "def2-svp", "--no-density-fitting", "--grid", "3", "--conv-tol", "1e-11",
         "--no-forces"]  # fmt: skip
TEMPERATURE = 300.0
"""K."""
TIMESTEP, FRICTION = 0.5, 0.1
"""fs, 1/fs.  Friction changes how soon frames are independent, not the distribution they come from."""
FIRST = 40
"""Trajectories from which the autocorrelation comes."""
HEATING = 500.0
"""fs of each trajectory before its first frame."""
FORGOTTEN = 0.05
"""Autocorrelation from which on a coordinate has forgotten its value."""
CENTRE, SPREAD = np.array([0.97, 0.97, 1.80]), np.array([0.045, 0.045, 0.16])
"""Å, Å, rad: where the potential is fitted; twice as wide as the distribution at 300 K."""
WIDEST = 2.3
"""Spreads from the centre beyond which no energy is computed."""


def main() -> None:
    options, label_options = arguments()
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    frames, report = folder / "water.xyz", folder / "water.json"
    if not frames.exists():
        atoms, found = draw(options)
        report.write_text(json.dumps(found, indent=2) + "\n")
        ase.io.write(frames, atoms)
    print(report.read_text(), end="")
    if helm_ase(["label", str(frames), "-o", str(folder / "water.h5"), *LEVEL, *label_options]):
        raise SystemExit(1)


def draw(options: argparse.Namespace) -> tuple[list[Atoms], dict[str, float]]:
    """All frames with their parts, and what was measured."""
    random = np.random.default_rng(options.seed)
    potential = Potential.fit(options.energies, random)
    each = options.frames_each
    sizes = dict(zip(("train", "val", "test"), (-(-n // each) for n in options.frames), strict=True))
    parts = random.permutation(np.repeat(list(sizes), list(sizes.values())))
    first = run(potential, FIRST, round(options.pilot / TIMESTEP), 1, random)
    stride = forgetting_time(autocorrelation(internal(np.array(list(first)))))
    kept = np.array(list(run(potential, len(parts), each, stride, random)))  # (each, trajectories, 3, 3)
    frames = []
    for trajectory, part in enumerate(parts):
        for frame, positions in enumerate(kept[:, trajectory]):
            info = {"name": f"water-{trajectory:03d}-{frame:03d}", "smiles": "O", "split": str(part),
                    "trajectory": trajectory, "temperature_K": TEMPERATURE}  # fmt: skip
            frames.append(Atoms("OHH", orient(positions, options.orientation, random), info=info))
    frames.sort(key=lambda f: list(sizes).index(f.info["split"]))  # test frames are labelled last
    return frames, measured(potential, stride, internal(kept), sizes, each)


def measured(potential, stride, coordinates, sizes, each) -> dict[str, float]:
    at_stride = autocorrelation(coordinates)[1]
    bonds, angles = coordinates[..., :2], np.degrees(coordinates[..., 2])
    return {
        "potential_error_meV": 1e3 * potential.error,
        "decorrelation_fs": stride * TIMESTEP,
        "stride_fs": stride * TIMESTEP,  # the shortest that gives independent frames
        "autocorrelation_of_kept_frames": dict(zip(("bond 1", "bond 2", "angle"), at_stride, strict=True)),
        "trajectories": sum(sizes.values()),
        "frames": {part: n * each for part, n in sizes.items()},
        "bond_A": {"mean": bonds.mean(), "deviation": bonds.std()},
        "angle_deg": {"mean": angles.mean(), "deviation": angles.std()},
    }


class Potential:
    """Polynomial in bond lengths (Å) and angle (rad) about ``CENTRE``, eV; the hydrogen atoms are alike."""

    def __init__(self, powers: np.ndarray, coefficients: np.ndarray, error: float = np.nan) -> None:
        self.powers, self.coefficients, self.error = powers, coefficients, error

    @classmethod
    def fit(cls, count: int, random: np.random.Generator) -> "Potential":
        """From ``count`` PBE energies, a tenth of which are not fitted but give the error (eV, RMS)."""
        x = SPREAD * np.clip(random.standard_normal((count, 3)), -WIDEST, WIDEST)
        energies = np.array([pbe_energy(CENTRE + row) for row in x])
        degree = 5 if count >= 100 else 2
        powers = np.array([p for p in np.ndindex(*[degree + 1] * 3) if sum(p) <= degree])
        held = max(count // 10, 1)
        both = np.concatenate([x[held:], x[held:, [1, 0, 2]]])
        coefficients = np.linalg.lstsq(monomials(both, powers), np.tile(energies[held:], 2), rcond=None)[0]
        error = monomials(x[:held], powers) @ coefficients - energies[:held]
        return cls(powers, coefficients, float(np.sqrt(np.mean(error**2))))

    def forces(self, positions: np.ndarray) -> np.ndarray:
        """eV/Å of molecules (W, 3, 3)."""
        x = internal(positions) - CENTRE
        slopes = np.empty_like(x)
        for k, unit in enumerate(np.eye(3, dtype=int)):
            lowered = monomials(x, np.maximum(self.powers - unit, 0))
            slopes[:, k] = lowered @ (self.coefficients * self.powers[:, k])
        return -np.einsum("wk,wkna->wna", slopes, internal_derivatives(positions))


def monomials(x: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Products of powers of (W, 3) coordinates, (W, K)."""
    table = x[:, None] ** np.arange(powers.max() + 1)[:, None]  # (W, P, 3)
    return np.prod([table[:, powers[:, k], k] for k in range(3)], axis=0)


def pbe_energy(coordinates: np.ndarray) -> float:
    """PBE energy (eV) of bond lengths and angle."""
    mole = build_mole(np.array([8, 1, 1]), place(coordinates), "def2-svp", 0, 1)
    mf = kohn_sham(mole, pyscf_level("pbe", "def2-svp", density_fitting=False))
    energy = mf.kernel()
    if not mf.converged:
        raise SystemExit(f"PBE does not converge at bond lengths and angle {coordinates}")
    return float(energy) * HARTREE_IN_EV


def run(potential: Potential, walkers: int, count: int, every: int, random) -> Iterator[np.ndarray]:
    """Positions (Å, (walkers, 3, 3)) of ``count`` frames ``every`` steps apart; Langevin dynamics (BAOAB)."""
    masses = Atoms("OHH").get_masses()[:, None]
    step, kept = TIMESTEP * units.fs, np.exp(-FRICTION * TIMESTEP)
    kick = np.sqrt(units.kB * TEMPERATURE / masses)
    positions = np.tile(place(CENTRE), (walkers, 1, 1))
    velocities = kick * random.standard_normal(positions.shape)
    forces = potential.forces(positions)
    heating = round(HEATING / TIMESTEP)
    for number in range(1, heating + count * every + 1):
        velocities += step / 2 * forces / masses
        positions = positions + step / 2 * velocities
        velocities = kept * velocities + np.sqrt(1 - kept**2) * kick * random.standard_normal(positions.shape)
        positions = positions + step / 2 * velocities
        forces = potential.forces(positions)
        velocities += step / 2 * forces / masses
        if number > heating and (number - heating) % every == 0:
            yield positions


def autocorrelation(series: np.ndarray) -> np.ndarray:
    """Normalised autocorrelation, mean of walkers, lags 0 … T/2; (T, walkers, 3) → (T/2, 3)."""
    length = len(series)
    spectrum = np.fft.rfft(series - series.mean(axis=(0, 1)), 2 * length, axis=0)
    raw = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[: max(length // 2, 2)].mean(axis=1)
    raw /= length - np.arange(len(raw))[:, None]
    return raw / raw[0]


def forgetting_time(correlation: np.ndarray) -> int:
    """Lag from which on no coordinate's autocorrelation exceeds ``FORGOTTEN``."""
    last = int(np.flatnonzero(np.abs(correlation).max(axis=1) > FORGOTTEN)[-1])
    if last > 0.8 * len(correlation):
        raise SystemExit("the first trajectories are too short to see memory fade: make --pilot larger")
    return last + 1


def internal(positions: np.ndarray) -> np.ndarray:
    """Bond lengths (Å) and angle (rad), (..., 3, 3) → (..., 3)."""
    arms = positions[..., 1:, :] - positions[..., :1, :]
    lengths = np.linalg.norm(arms, axis=-1)
    cosine = np.sum(arms[..., 0, :] * arms[..., 1, :], axis=-1) / lengths.prod(axis=-1)
    return np.concatenate([lengths, np.arccos(cosine)[..., None]], axis=-1)


def internal_derivatives(positions: np.ndarray) -> np.ndarray:
    """Derivatives of bond lengths and angle with the positions, (W, 3, 3) → (W, 3, 3, 3)."""
    arms = positions[:, 1:] - positions[:, :1]
    lengths = np.linalg.norm(arms, axis=2, keepdims=True)
    along = arms / lengths
    cosine = np.sum(along[:, :1] * along[:, 1:], axis=2, keepdims=True)
    by_arm = np.zeros((len(positions), 3, 2, 3))
    by_arm[:, 0, 0], by_arm[:, 1, 1] = along[:, 0], along[:, 1]
    by_arm[:, 2] = (cosine * along - along[:, ::-1]) / (lengths * np.sqrt(1 - cosine**2))
    return np.concatenate([-by_arm.sum(axis=2, keepdims=True), by_arm], axis=2)


def place(coordinates: np.ndarray) -> np.ndarray:
    """Positions (Å, (3, 3)) of bond lengths and angle: oxygen at the origin, xz plane, z halves the angle."""
    half = coordinates[2] / 2
    arms = np.array([[np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]])
    return np.concatenate([np.zeros((1, 3)), coordinates[:2, None] * arms])


def orient(positions: np.ndarray, orientation: str, random: np.random.Generator) -> np.ndarray:
    """Put the oxygen atom at the origin, and turn the molecule at random or as ``place`` does."""
    placed = place(internal(positions))
    return Rotation.random(random_state=random).apply(placed) if orientation == "random" else placed


def arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Further options go to 'helm-ase label'.",
    )
    parser.add_argument("folder")
    parser.add_argument(
        "--frames", type=int, nargs=3, default=[500, 500, 1000], metavar="N", help="train, val, test"
    )
    parser.add_argument("--frames-each", type=int, default=50, metavar="N", help="of a trajectory (50)")
    parser.add_argument("--orientation", choices=["random", "fixed"], default="random")
    parser.add_argument("--energies", type=int, default=200, metavar="N", help="for the potential (200)")
    parser.add_argument("--pilot", type=float, default=4000, metavar="FS", help="first trajectories (4000)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_known_args()


if __name__ == "__main__":  # worker processes import this file again
    main()
