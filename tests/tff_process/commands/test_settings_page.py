"""docs/settings.md is what the declarations say."""

import pathlib

from tff_process.commands import settings_page

_DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_is_made_from_the_declarations():
    assert _DOCUMENT.read_text(encoding="utf-8") == settings_page.page()
