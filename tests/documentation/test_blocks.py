"""Every code block of README, CONTRIBUTING and the guide runs, and prints what the page says."""

import shutil
import warnings
from pathlib import Path

import pytest

from helm_ase import ExtrapolationWarning
from shared.code_blocks import (
    CHECKOUT,
    NOT_CODE,
    PAGES,
    Block,
    blocks_of,
    check_recipe,
    commands_of,
    run_bash,
    run_python,
    same_output,
)

LANGUAGES = {"python", "bash", "yaml", *NOT_CODE}


def name_of(page):
    return page.relative_to(CHECKOUT).as_posix()


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with the examples in it, as a reader has who has cloned the repository."""
    (tmp_path / "examples").symlink_to(CHECKOUT / "examples")
    (tmp_path / "checkpoints").symlink_to(CHECKOUT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def run(page: Path, blocks: list[Block], folder: Path, capsys) -> None:
    names: dict[str, object] = {"__name__": "__guide__"}
    printed = ""
    for block in blocks:
        if block.mark == "output":
            assert same_output(printed, block.text), (
                f"{page.name}, line {block.line} says\n{block.text}\nbut this was printed:\n{printed}"
            )
        elif block.mark == "elsewhere" or block.language in NOT_CODE:
            continue
        elif block.language == "yaml":
            check_recipe(block, folder)
        else:
            capsys.readouterr()
            run_bash(block, page) if block.language == "bash" else run_python(block, page, names)
            printed = capsys.readouterr().out


def outputs_follow(blocks: list[Block], slow: bool) -> list[Block]:
    """Blocks that run at this speed, each with the output that is shown of it."""
    kept, last = [], False
    for block in blocks:
        if block.mark != "output":
            last = slow or block.mark != "slow"
        if last:
            kept.append(block)
    return kept


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_quick_blocks_run_and_print_what_the_page_shows(page, desk, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        run(page, outputs_follow(blocks_of(page), slow=False), desk, capsys)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.mark == "slow" for b in blocks_of(p))], ids=name_of
)
def test_slow_blocks_run_and_print_what_the_page_shows(page, desk, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        run(page, outputs_follow(blocks_of(page), slow=True), desk, capsys)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_its_language_and_its_mark_is_known(page):
    for block in blocks_of(page):
        where = f"{page.name}, line {block.line}"
        assert block.language in LANGUAGES, where
        assert block.mark in {"", "slow", "output", "elsewhere"}, where
        assert (block.mark == "output") <= (block.language == "text"), where
        assert (block.mark == "elsewhere") == bool(block.why), f"{where}: say why no test can run it"


# --- the reader of blocks itself -------------------------------------------------------------------


def test_the_reader_sees_languages_marks_and_lines(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n<!-- slow -->\n```python\nx = 1\n```\n\n```{note}\nno code\n```\n\n"
        "```bash\na \\\n b  # c\n```\n"
    )
    first, second = blocks_of(page)
    assert (first.language, first.text, first.mark, first.line) == ("python", "x = 1\n", "slow", 3)
    assert list(commands_of(second.text)) == [["a", "b"]]


def test_an_error_in_a_block_and_a_wrong_output_are_seen(tmp_path, desk, capsys):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1.5)\n```\n\n<!-- output -->\n```text\n1.6\n```\n")
    with pytest.raises(AssertionError, match="line 5 says"):
        run(page, blocks_of(page), desk, capsys)
    page.write_text("```bash\nhelm-ase run no-such-file.xyz\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 1"):
        run(page, blocks_of(page), desk, capsys)
    page.write_text("```bash\nrm -r everything\n```\n")
    with pytest.raises(AssertionError, match="no test runs this"):
        run(page, blocks_of(page), desk, capsys)


def test_outputs_are_compared_by_words_and_numbers():
    assert same_output("gap  9.1351 eV", "gap 9.135 eV\n")
    assert not same_output("gap 9.2 eV", "gap 9.1 eV")
    assert not same_output("gap 9.1 eV", "LUMO 9.1 eV")
    assert not same_output("1 2", "1")


def test_the_guide_needs_no_program_that_is_not_there():
    assert shutil.which("helm-ase"), "the blocks call helm-ase: install the package"
