"""Code blocks of Markdown pages: found, and run in the order of the page.

A page is one session: its Python blocks share their names, and all blocks the folder.  Comments before a
block say what is special about it:

``<!-- slow -->``    it takes minutes or many processes; run with ``-m slow``.
``<!-- output -->``  not code but what the block before it prints; numbers may differ by one in a thousand.
``<!-- elsewhere: why -->``  it cannot be run by a test (another machine, an interactive program).
"""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from helm_ase.cli import main as helm_ase

CHECKOUT = Path(__file__).parents[2]
GUIDE = CHECKOUT / "examples" / "guide"
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted(GUIDE.rglob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- *(?P<mark>[a-z]+)(?:: *(?P<why>[^>]*?))? *-->\n+)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
NOT_CODE = {"", "text", "bibtex"}
SET_UP = {"pip", "git", "python", "source", "pre-commit", "pytest", "sphinx-build", "mypy", "ruff", "export"}
"""Programs that set up an environment or are what runs the tests."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    mark: str
    """``slow``, ``output``, ``elsewhere`` or nothing."""
    why: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page but Sphinx's directives, which begin with a brace."""
    content = page.read_text(encoding="utf8")
    blocks = []
    for m in FENCE.finditer(content):
        line = content.count("\n", 0, m.start()) + 1
        blocks.append(Block(m["language"].strip(), m["text"], m["mark"] or "", m["why"] or "", line))
    return [block for block in blocks if not block.language.startswith("{")]


def commands_of(text: str) -> Iterator[list[str]]:
    """Commands of a bash block as lists of words; comments and line continuations are the shell's."""
    for line in text.replace("\\\n", " ").splitlines():
        for command in line.split("&&"):
            if words := shlex.split(command, comments=True):
                yield words


def run_python(block: Block, page: Path, names: dict[str, object]) -> None:
    """Execute a block with the names of those before it; errors point at the line of the page."""
    source = "\n" * block.line + block.text
    exec(compile(source, str(page), "exec"), names)


def run_bash(block: Block, page: Path) -> None:
    """Run the ``helm-ase`` commands of a block; of ``pip install`` check the extras."""
    for words in commands_of(block.text):
        where = f"{page.name}, line {block.line}: {shlex.join(words)}"
        if words[0] == "helm-ase":
            assert not _status(words[1:], block.mark == "slow"), where
        elif words[0] == "pip":
            extras = set(re.findall(r"[a-z]+", " ".join(re.findall(r"\[(.*?)\]", " ".join(words)))))
            assert extras <= set(optional_dependencies()), where
        else:
            assert words[0] in SET_UP, f"{where}: no test runs this; write helm-ase or Python, or mark it"


def _status(arguments: list[str], separately: bool) -> int:
    """Exit code of ``helm-ase``, in this process or in one of its own, which may start others."""
    if separately:
        return subprocess.run([sys.executable, "-m", "helm_ase.cli", *arguments], timeout=900).returncode
    try:
        return helm_ase(arguments)
    except SystemExit as end:  # --help and the like
        return int(end.code or 0)


def optional_dependencies() -> dict[str, list[str]]:
    """Extras of the package."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    return extras


def check_recipe(block: Block, folder: Path) -> None:
    """A YAML block is a recipe, or part of one, that training would accept."""
    from helm_ase.training.configuration import read_recipe

    path = folder / f"recipe-{block.line}.yaml"
    path.write_text(block.text, encoding="utf8")
    assert isinstance(yaml.safe_load(block.text), dict)
    read_recipe(path)


def same_output(printed: str, shown: str, tolerance: float = 1e-3) -> bool:
    """Whether two texts have the same words and nearly the same numbers."""
    frames = [" ".join(NUMBER.sub("#", text).split()) for text in (printed, shown)]
    numbers = [np.array([float(x) for x in NUMBER.findall(text)]) for text in (printed, shown)]
    if frames[0] != frames[1] or len(numbers[0]) != len(numbers[1]):
        return False
    return bool(np.allclose(*numbers, rtol=tolerance, atol=tolerance))
