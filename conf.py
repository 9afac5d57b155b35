"""The documentation site: ``sphinx-build -W -c . examples/guide build/site`` (needs no network)."""

import argparse
import os
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.utils.math.latex2mathml import tex2mathml

os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "helm-ase"
author = copyright = "The helm-ase developers"
try:
    release = metadata.version("helm-ase")
except metadata.PackageNotFoundError:  # a checkout that was never installed
    release = "unreleased"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # model cards begin below their page's title

html_theme = "furo"
html_title = "helm-ase"
html_show_sourcelink = False
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!helm_ase\.\w+$).*")]
"""References to public names must lead somewhere; those to other packages would need the network."""


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """|x| is a modulus in our docstrings and not, as in reStructuredText, the name of a substitution."""
    for k, line in enumerate(lines):
        pieces = re.split(r"(``.*?``)", line)
        lines[k] = "".join(p if p.startswith("``") else p.replace("|", r"\|") for p in pieces)


class CommandHelp(Directive):
    """``helm-ase COMMAND --help`` of every command, from the parser itself."""

    def run(self) -> list[nodes.Node]:
        """One literal block for each command, with its heading."""
        from helm_ase.cli import _parser

        os.environ["COLUMNS"] = "95"
        texts = [(" ".join(words), command.format_help()) for words, command in commands_of(_parser(), [])]
        return [self.section(title, nodes.literal_block(text, text)) for title, text in texts]

    def section(self, title: str, content: nodes.Node) -> nodes.Node:
        """A section that the table of contents shows."""
        section = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
        section += [nodes.title(title, title), content]
        return section


def commands_of(parser: Any, words: list[str]) -> Iterator[tuple[list[str], Any]]:
    """Commands without further commands below them, and their parsers."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for action in below:
        for name, command in action.choices.items():
            yield from commands_of(command, [*words, name])


class RecipeDefaults(Directive):
    """What ``helm-ase train --print-defaults`` prints."""

    def run(self) -> list[nodes.Node]:
        """One block of YAML."""
        from helm_ase.training.configuration import defaults_as_yaml

        text = defaults_as_yaml()
        return [nodes.literal_block(text, text, language="yaml")]


def write_inline_formula(writer: Any, node: nodes.math) -> None:
    """Write a formula as MathML, which browsers draw without a script or a font from elsewhere."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def write_displayed_formula(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    writer.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Register what Sphinx does not bring: formulas without the network, moduli, texts of the program."""
    app.add_html_math_renderer("mathml", (write_inline_formula, None), (write_displayed_formula, None))
    app.add_directive("helm-ase-help", CommandHelp)
    app.add_directive("recipe-defaults", RecipeDefaults)
    app.connect("autodoc-process-docstring", escape_bars)
