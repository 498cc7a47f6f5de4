"""Documents say what the code says."""

import pathlib
import re

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGES = ("pfrec", "tff_process", "export")


def test_architecture_names_files_that_are_there() -> None:
    text = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:pfrec|tff_process|export|tests|examples)/[\w/]+\.py)`", text)
    named.remove("tff_process/algorithms/NAME.py")
    assert len(named) > 20
    assert [name for name in named if not (_ROOT / name).is_file()] == []
    steps = re.findall(r"^(\d+)\. \*\*", text, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 13)]


def test_troubleshooting_quotes_messages_of_the_code() -> None:
    """Of each quoted message the words before a `...` or a placeholder stand in the sources."""
    text = (_ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    sources = [(_ROOT / "Makefile").read_text(encoding="utf-8")]
    for package in _PACKAGES:
        paths = (_ROOT / package).rglob("*.py")
        sources += [path.read_text(encoding="utf-8") for path in paths]
    # Literals that Python joins, and lines of prose, as one text.
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    quoted = re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
    assert len(quoted) > 15
    for message in quoted:
        words = max(re.split(r"[A-Z]{4,}|\bN\b|\bM\b|\.\.\.|'x'|:", message), key=len).strip()
        assert words in code, message


def test_every_trouble_that_was_tried_names_a_test_that_is_there() -> None:
    text = (_ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    table = text.partition("## Troubles that were tried")[2]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 25
    paths = [path.relative_to(_ROOT).as_posix() for path in (_ROOT / "tests").rglob("test_*.py")]
    for trouble, *_, held in rows:
        named = re.findall(r"`([\w/]*test_\w+\.py)`", held)
        assert named, trouble
        for name in named:
            assert len([path for path in paths if f"/{path}".endswith(f"/{name}")]) == 1, name


def test_no_placeholder_is_left() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert "TIME_" not in (_ROOT / name).read_text(encoding="utf-8"), name


def test_the_version_is_the_same_everywhere() -> None:
    import pfrec

    version = f'version = "{pfrec.__version__}"'
    assert version in (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"version: {pfrec.__version__}\n" in (_ROOT / "CITATION.cff").read_text(encoding="utf-8")
