"""Imports that happen at their first use."""

import sys

import pytest

from pfrec import lazy


def test_modules_are_imported_when_an_attribute_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "heavy_package").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "heavy_package" / f"{name}.py").write_text("VALUE = 7\n")
    (tmp_path / "heavy_module.py").write_text("VALUE = 8\n")
    (tmp_path / "user.py").write_text(
        "from pfrec import lazy\n"
        "with lazy.imports():\n"
        "    import heavy_module as one\n"
        "    from heavy_package import part as other\n"
        "import json\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import user

    assert not {"heavy_module", "heavy_package", "heavy_package.part"} & set(sys.modules)
    assert user.json is sys.modules["json"]
    assert user.one.VALUE == 8
    assert "heavy_package" not in sys.modules
    assert user.other.VALUE == 7
    with pytest.raises(AttributeError):
        user.one.nothing  # noqa: B018


def test_other_modules_import_as_ever_meanwhile():
    with lazy.imports():
        import importlib

        module = importlib.import_module("json.decoder")
    assert module is sys.modules["json.decoder"]
