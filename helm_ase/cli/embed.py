"""``helm-ase embed``."""

import argparse
import sys
from typing import Any

from helm_ase.cli.evaluate import add_subject, load_subject, output_folder, split_of
from helm_ase.cli.number_types import SEED

DESCRIPTION = """Save the embeddings of atoms, which are the features that the network computes for them in
its last layer, draw a two-dimensional map of them (UMAP), and score how well they separate elements and
chemical environments."""
EPILOG = """Files written to FOLDER: embeddings.npz, separation.json (the scores) and, unless --no-umap is
given, umap.png.  What is saved does not change under rotation: the features of degree l = 0 themselves, and
for higher l the norm over m of every channel.  The scores are given beside those of the same network with
random weights.  The map needs pip install 'helm-ase[embed]'."""


def add_commands(commands: Any) -> None:
    """Add ``embed``."""
    embed = commands.add_parser(
        "embed",
        help="save the atomic embeddings of a network, a UMAP of them, and how well they separate elements",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_subject(embed, limit=250)
    embed.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder to write to")
    embed.add_argument("--no-umap", action="store_true", help="do not compute and draw the UMAP")
    embed.add_argument(
        "--seed",
        type=SEED,
        default=42,
        help="seed of UMAP, of the random weights and of the choice of atoms (default: 42)",
    )
    embed.set_defaults(command=_embed)


def _embed(options: argparse.Namespace) -> None:
    from helm_ase.evaluation import embedding, separation, umap_picture
    from helm_ase.evaluation.selection import choose

    if not options.no_umap:
        umap_picture.check_umap()
    checkpoint, source = load_subject(options)
    folder = output_folder(options.output)
    with source:
        indices, skipped = choose(checkpoint, source, split_of(options), options.limit, options.skip_unknown)
        progress = sys.stderr.isatty() and not options.quiet
        trained, random = embedding.embed_both(checkpoint.model, source, indices, options.seed, progress)
    scores = separation.compare(trained, random, options.seed)
    picture = None if options.no_umap else umap_picture.project(trained, options.seed)
    embedding.save(folder / "embeddings.npz", trained, picture)
    facts = {
        "checkpoint": checkpoint.name, "checkpoint_sha256": checkpoint.sha256,
        "data": source.path.resolve().name, "split": options.split, "molecules": len(indices),
        "atoms": len(trained.numbers), "skipped": skipped, "seed": options.seed,
    }  # fmt: skip
    separation.write(folder / "separation.json", facts, scores)
    if picture is not None:
        umap_picture.draw(trained, picture, folder / "umap.png", checkpoint.name)
    print(f"# {checkpoint.name} on {source.path.name}, split {options.split}\n")
    print(
        f"{len(indices)} molecules, {len(trained.numbers)} atoms" + (f", {skipped} left out" * bool(skipped))
    )
    print(f"\n{separation.as_text(scores)}\n\nwritten to {folder}")
