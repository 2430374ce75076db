from __future__ import annotations

from pathlib import Path

from dae_tools.formats import table


def test_the_table_in_the_documentation_is_what_the_files_show():
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
    assert table() in text, "if this is meant: put the output of python -m dae_tools.formats into docs/formats.md"
