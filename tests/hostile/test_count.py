"""The suite is as wide as it claims: every module lists its named cases in ``CASES``."""

import importlib
from pathlib import Path

FIELDS = {
    "test_label_files", "test_checkpoints", "test_downloads", "test_recipes", "test_structure_files",
    "test_command_line",
}  # fmt: skip
LEAST = 300


def named_cases():
    modules = [path.stem for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)]
    return {name: importlib.import_module(f"hostile.{name}").CASES for name in modules}


def test_there_are_at_least_three_hundred_named_cases_over_all_fields():
    found = named_cases()
    assert set(found) >= FIELDS
    assert all(len(set(cases)) == len(cases) and len(cases) > 5 for cases in found.values())
    assert sum(map(len, found.values())) >= LEAST
