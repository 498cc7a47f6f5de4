"""The names of `import pfrec`, and the examples in their docstrings, told as one story."""

import ast
import doctest
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import pfrec

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# In the order in which each needs what the ones before it wrote.
_STORY = (
    "convert",
    "Dataset",
    "Schema",
    "Plan",
    "train",
    "evaluate",
    "compare",
    "export",
    "verify",
)


def _python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_imports_nothing_heavy() -> None:
    program = (
        "import sys, time; start = time.perf_counter(); import pfrec; "
        "seconds = time.perf_counter() - start; "
        "print(seconds, *{'tensorflow', 'numpy', 'absl'} & set(sys.modules))"
    )
    seconds, *heavy = min((_python(program).split() for _ in range(3)), key=lambda v: float(v[0]))
    assert not heavy
    assert float(seconds) < 0.3


def test_every_name_is_found_where_the_table_says() -> None:
    for name, home in pfrec._HOMES.items():  # type: ignore[attr-defined]
        module, _, attribute = home.partition(":")
        assert getattr(pfrec, name) is getattr(importlib.import_module(module), attribute)
    assert set(pfrec.__all__) <= set(dir(pfrec))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        pfrec.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_are_told_the_same_names() -> None:
    tree = ast.parse((_ROOT / "pfrec" / "__init__.pyi").read_text(encoding="utf-8"))
    told = {
        str(alias.asname): f"{node.module}:{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == pfrec._HOMES  # type: ignore[attr-defined]
    for package in ("pfrec", "tff_process", "export"):
        assert (_ROOT / package / "py.typed").is_file()


def test_every_public_name_has_an_example() -> None:
    for name in pfrec._HOMES:  # type: ignore[attr-defined]
        assert ">>> " in (inspect.getdoc(getattr(pfrec, name)) or ""), name


def _run(name: str, text: str) -> None:
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert result.attempted > 0, name
    assert result.failed == 0, "".join(said)


def test_the_example_of_the_package() -> None:
    _run("pfrec", pfrec.__doc__ or "")


@pytest.mark.slow
def test_the_examples_in_order(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.export import stand_in_server

    monkeypatch.chdir(tmp_path)
    for name in _STORY:
        _run(name, getattr(pfrec, name).__doc__)
    with stand_in_server.running(tmp_path / "serving") as server:
        for name in ("Client", "RestClient"):
            text = getattr(pfrec, name).__doc__
            text = text.replace("localhost:8500", server.grpc)
            _run(name, text.replace("localhost:8501", server.rest))
