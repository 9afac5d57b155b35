"""Study 2: what each part of the design is worth, at equal processor time and equal number of parameters.

    python ablation.py LABELS.h5 FOLDER [--minutes 7] [--seeds 1] [--only NAME ...] [--set KEY=VALUE ...]

Every variation changes one thing of ``recipe.yaml``; where that changes the size of the network, channels are
added or taken until it has as many parameters as the reference (to 5 %).  Errors are those of the
validation molecules, which choose nothing: the weights are those of the end.  Runs that are there already are
not repeated; several processes may share the work, each with its own --only.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from helm_ase.checkpoint import read_checkpoint
from helm_ase.nn import HELM
from helm_ase.qc.molecule import ao_basis
from helm_ase.training.configuration import read_recipe
from helm_ase.training.recipe import Recipe
from helm_ase.training.run import train

HERE = Path(__file__).parent
PARAMETERS_OF = ("def2-svp", (1, 6, 7, 8, 9))
VARIATIONS: dict[str, list[str]] = {
    "reference": [],
    "1 without parity (SO(3) only)": ["model.backbone.parity=false"],
    "2 not Hermitian by construction": ["model.hermitian=false"],
    "3a no baseline": ["data.baseline.name=none"],
    "3b baseline sap": ["data.baseline.name=sap"],
    "3c baseline fitted": ["data.baseline.name=fitted"],
    "4 no spectrum loss": ["stages.0.weights.spectrum=0"],
    "5 no trust filter": ["model.trust_delta=0"],
    "6 no envelope": ["model.backbone.envelope=false"],
    "8 padded shells": ["model.pad_shells=true"],
    "AdamW": ["stages.0.optimiser.name=adamw"],
    "AdamW, batches half as large": ["stages.0.optimiser.name=adamw", "stages.0.batch_load=400"],
    "batches half as large": ["stages.0.batch_load=400"],
    "half of Muon's rate": ["stages.0.optimiser.muon_rate=0.005"],
    "twice Muon's rate": ["stages.0.optimiser.muon_rate=0.02"],
    "Muon on parts of 64 rows": ["stages.0.optimiser.muon_rows=64"],
    "loss RMSE + MSE (the paper's)": ["stages.0.weights={hamiltonian_square: 1, spectrum: 0.1}"],
    "node track with m up to 4": ["model.backbone.mmax_nodes=4"],
    "node track with m = 0 and 1": ["model.backbone.mmax_nodes=1"],
    "three layers of nodes": ["model.backbone.node_layers=3"],
    "three layers of nodes and of edges": ["model.backbone.node_layers=3", "model.backbone.edge_layers=3"],
}
"""Names with the numbers of the switches; 7, charge and multiplicity as inputs, has no weights where all
labels are neutral singlets, so there is nothing to take away."""
COLUMNS = {
    "hamiltonian": ("H / µEh", 1.0), "occupied": ("occupied / eV", 1.0), "homo": ("HOMO / eV", 1.0),
    "lumo": ("LUMO / eV", 1.0), "gap": ("gap / eV", 1.0), "ghosts": ("ghost LUMOs", 1.0),
}  # fmt: skip


def plain(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def parameters(recipe: Recipe) -> int:
    assert recipe.model is not None
    model = HELM(ao_basis(*PARAMETERS_OF), recipe.model)
    moving = [p for n, p in model.named_parameters() if not n.startswith("energy_head.")]
    return sum(p.numel() for p in moving)


def resized(recipe: Recipe, wanted: int) -> Recipe:
    """Recipe with natural and unnatural channels, in their ratio, such that the parameters are as wanted."""
    assert recipe.model is not None
    backbone = recipe.model.backbone
    found = []
    for natural in range(12, 61):
        channels = {"natural_channels": natural, "unnatural_channels": round(natural / 3 / 2) * 2}
        sized = replace(recipe.model, backbone=replace(backbone, **channels))
        made = replace(recipe, model=sized)
        found.append((abs(parameters(made) - wanted), natural, made))
    return min(found, key=lambda x: x[:2])[2]


def run(name: str, options: argparse.Namespace, seed: int) -> dict[str, float]:
    folder = Path(options.folder).resolve() / f"{plain(name)}-{seed}"
    common = [
        f"data.train=[{Path(options.labels).resolve()}]",
        f"data.cache={Path(options.folder).resolve()}",
        f"folder={folder}",
        f"seed={seed}",
        f"stages.0.minutes={options.minutes}",
        *options.set,
    ]
    reference = read_recipe(HERE / "recipe.yaml", common)
    recipe = read_recipe(HERE / "recipe.yaml", [*common, *VARIATIONS[name]])
    wanted = parameters(reference)
    if abs(parameters(recipe) - wanted) > 0.05 * wanted:
        recipe = resized(recipe, wanted)
    found = read_checkpoint(train(recipe))
    rows = (folder / "metrics-0.csv").read_text().splitlines()
    facts = {"parameters": parameters(recipe), "epochs": len(rows) - 1}
    return {**found.metrics, **facts}


def table(folder: Path) -> str:
    results = [json.loads(p.read_text()) for p in sorted(folder.glob("*.result.json"))]
    results.sort(key=lambda r: (list(VARIATIONS).index(r["name"]), r["seed"]))
    head = ["variation", "seed", "parameters / M", "epochs", *(label for label, _ in COLUMNS.values())]
    lines = [head, ["---"] * len(head)]
    for r in results:
        m = r["metrics"]
        cells = [f"{m[k] * factor:.4g}" for k, (_, factor) in COLUMNS.items()]
        lines.append(
            [r["name"], str(r["seed"]), f"{m['parameters'] / 1e6:.2f}", f"{m['epochs']:.0f}", *cells]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels")
    parser.add_argument("folder")
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(VARIATIONS), choices=list(VARIATIONS))
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for name in options.only:
            result = {"name": name, "seed": seed, "metrics": run(name, options, seed)}
            file = f"{plain(name)}-{seed}.result.json"
            (folder / file).write_text(json.dumps(result))
            print(table(folder), flush=True)


if __name__ == "__main__":
    main()
