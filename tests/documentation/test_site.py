"""The site builds with one command and no network, without a warning, and no link in it is dead."""

import io
import os
import shlex
import socket
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from shared.code_blocks import CHECKOUT, GUIDE, blocks_of, commands_of

pytest.importorskip("sphinx", reason="the site needs pip install '.[docs]'")


class Page(HTMLParser):
    """What a page refers to, the names that others may refer to, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.resources: set[str] = set()
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.names |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        for key in ("src", "href") if tag in ("img", "script", "link", "source") else ():
            if values.get(key):
                self.resources.add(values[key])


def build_command() -> list[str]:
    """The command of CONTRIBUTING."""
    commands = [c for b in blocks_of(CHECKOUT / "CONTRIBUTING.md") for c in commands_of(b.text)]
    (command,) = [words for words in commands if words[0] == "sphinx-build"]
    return command


def refuse(*arguments, **keywords):
    raise OSError("the site must build without a network")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Built in this process, which has imported already what the pages describe."""
    from sphinx.cmd.build import build_main

    folder = tmp_path_factory.mktemp("site")
    *options, _ = build_command()[1:]
    words = ["-q", "-d", str(folder / "trees"), *options, str(folder / "html")]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python, in other packages; those of Sphinx are errors by -W
        patch.chdir(CHECKOUT)
        patch.setattr(socket.socket, "connect", refuse)
        for name in ("COLUMNS", "OMP_NUM_THREADS"):  # conf.py sets them
            patch.setenv(name, os.environ.get(name, "1"))
        with redirect_stdout(said), redirect_stderr(said):
            code = build_main(words)
    assert code == 0, shlex.join(options) + said.getvalue()[-3000:]
    return folder / "html"


@pytest.fixture(scope="session")
def pages(site):
    return {path: Page(path.read_text(encoding="utf8")) for path in site.rglob("*.html")}


def inside(link: str) -> bool:
    return not urlsplit(link).scheme and not link.startswith("//")


def test_every_page_of_the_guide_is_in_the_site(site):
    for page in GUIDE.rglob("*.md"):
        assert (site / page.relative_to(GUIDE).with_suffix(".html")).is_file()


def test_no_link_and_no_picture_is_dead(pages):
    dead = []
    for path, page in pages.items():
        for link in filter(inside, page.links | page.resources):
            place, _, name = unquote(link).partition("#")
            target = (path.parent / place.partition("?")[0]).resolve() if place else path
            if not target.is_file():
                dead.append(f"{path.name}: {link}")
            elif name and target.suffix == ".html" and target in pages and name not in pages[target].names:
                dead.append(f"{path.name}: {link} (no such place on the page)")
    assert dead == []
    assert sum(len(page.links) for page in pages.values()) > 500


def test_pages_load_nothing_from_elsewhere(pages):
    foreign = {link for page in pages.values() for link in page.resources if not inside(link)}
    assert foreign == set()


def test_formulas_are_mathml(site):
    text = (site / "concepts" / "ghost_states.html").read_text(encoding="utf8")
    assert "<math" in text
    assert "\\frac" not in text


def test_links_to_files_of_the_repository_exist_in_the_readme():
    text = (CHECKOUT / "README.md").read_text(encoding="utf8")
    links = [part.split(")", 1)[0] for part in text.split("](")[1:]]
    dead = [link for link in links if inside(link) and not (CHECKOUT / Path(link.partition("#")[0])).exists()]
    assert links
    assert dead == []


@pytest.mark.slow
def test_every_picture_of_the_guide_is_drawn_by_the_committed_script(tmp_path):
    script = GUIDE / "pictures" / "make_pictures.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=500)
    shown = {path.name for path in (GUIDE / "pictures").glob("*.png")}
    assert shown
    assert {path.name for path in tmp_path.glob("*.png")} == shown
