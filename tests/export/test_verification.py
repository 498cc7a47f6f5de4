"""Broken versions are refused, by the check that should see it."""

import pathlib
import subprocess
import sys
from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

from export import manifest, serving_module, serving_request, signature, verification, warmup
from pfrec import errors, files
from tests.export import tiny

FILES = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "fingerprint.pb",
    warmup.FILE,
    manifest.FILE,
)


def _failed(report: verification.Report) -> "dict[str, str]":
    return {check.name: check.detail for check in report.checks if not check.ok}


def _sign(directory: pathlib.Path) -> None:
    """Makes the manifest fit files that were changed, so that other checks must see the change."""
    value = manifest.read(directory)
    manifest.write(
        directory,
        model="NL",
        scenario="NL",
        schema=tiny.SCHEMA,
        variables=value["variables"],
        run=value["run"],
    )


def test_good_version_passes(exported: pathlib.Path) -> None:
    report = verification.verify(exported)
    assert report.ok
    assert [c.name for c in report.checks][-4:] == ["batch sizes", "unknown values", "warm-up replay", "refused shapes"]
    report.require()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["remove", "truncate", "flip"])
def test_damaged_file_is_refused(copy: Callable[..., pathlib.Path], name: str, damage: str) -> None:
    path = copy() / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    root = path.parents[len(pathlib.PurePath(name).parts) - 1]
    report = verification.verify(root)
    assert set(_failed(report)) == {"manifest"} if name == manifest.FILE else {"files"}
    assert name in "".join(_failed(report).values())
    with pytest.raises(errors.PfrecError, match="refused"):
        report.require()


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.97])
def test_any_flip_in_the_manifest_is_refused(copy: Callable[..., pathlib.Path], place: float) -> None:
    path = copy() / manifest.FILE
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert not verification.verify(path.parents[1]).ok


def test_extra_file_is_named(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    (directory / "assets" / "notes.txt").write_text("x")
    assert "assets/notes.txt is not in the manifest" in _failed(verification.verify(directory))["files"]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("saved_model.pb", "graph"),
        ("variables/variables.index", "variables"),
        ("variables/variables.data-00000-of-00001", "load"),
        (warmup.FILE, "warm-up file"),
    ],
)
def test_missing_file_is_seen_without_checksums(copy: Callable[..., pathlib.Path], name: str, check: str) -> None:
    directory = copy()
    (directory / name).unlink()
    _sign(directory)
    assert check in _failed(verification.verify(directory))


def test_warmup_with_another_feature_is_refused(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    request = serving_request.random(tiny.SCHEMA, 2, seed=0)
    request["stranger"] = request.pop("age")
    warmup.write(directory, "NL", request)
    _sign(directory)
    assert set(_failed(verification.verify(directory))) == {"warm-up file"}


def test_warmup_that_the_model_refuses(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    request = serving_request.random(tiny.SCHEMA, 2, seed=0)
    warmup.write(directory, "NL", {**request, "age": request["age"][:1]})
    _sign(directory)
    assert set(_failed(verification.verify(directory))) == {"warm-up replay"}


def _write_saved_model(directory: pathlib.Path, module: tf.Module, function: Any) -> None:
    tf.saved_model.save(module, str(directory), signatures={signature.NAME: function})
    warmup.write(directory, "NL", serving_request.random(tiny.SCHEMA, 2, seed=0))
    found = serving_module.checkpoint_variables(directory)
    manifest.write(directory, model="NL", scenario="NL", schema=tiny.SCHEMA, variables=found, run={"id": "abc", "round": 4})


def test_foreign_variable_is_named(tmp_path: pathlib.Path) -> None:
    module = serving_module.ServingModule(tiny.Network(), tiny.SCHEMA)
    module.planted = tf.Variable(tf.zeros([7]), name="tower_of_another")
    _write_saved_model(tmp_path, module, module.serve)
    failed = _failed(verification.verify(tmp_path))
    assert set(failed) == {"variables"}
    assert "tower_of_another" in failed["variables"]


def _unchecked(outputs: Any) -> "tuple[tf.Module, object]":
    """A module with the right inputs whose outputs `outputs(x)` gives, x being float32 [rows]; it does not check shapes."""
    specs = {name: tf.TensorSpec([None], dtype, name=name) for name, dtype in signature.input_dtypes(tiny.SCHEMA).items()}
    return tf.Module(), tf.function(lambda inputs: outputs(inputs["price"]), input_signature=[specs]).get_concrete_function()


@pytest.mark.parametrize(
    ("outputs", "check"),
    [
        (lambda x: {"click": tf.sigmoid(x), "purchase": tf.sigmoid(x)}, "signature"),
        (lambda x: {"click": tf.cast(x, tf.float64), "buy": x}, "signature"),
        (lambda x: {"click": tf.sigmoid(x), "buy": x * 1e3}, "batch sizes"),
        (lambda x: {"click": tf.sigmoid(x), "buy": tf.where(tf.math.is_nan(x), x, tf.sigmoid(x))}, "unknown values"),
        (lambda x: {"click": tf.sigmoid(x), "buy": tf.sigmoid(x)}, "refused shapes"),
    ],
)
def test_wrong_answers_are_refused(tmp_path: pathlib.Path, outputs: Any, check: str) -> None:
    module, function = _unchecked(outputs)
    _write_saved_model(tmp_path, module, function)
    assert check in _failed(verification.verify(tmp_path))


def test_absolute_path_is_named(tmp_path: pathlib.Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    initial = tf.lookup.TextFileInitializer(
        str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initial, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="device")])
    def serve(device):
        return {"click": tf.cast(module.table.lookup(device), tf.float32), "leak": tf.fill([1], "/home/someone/data.csv")}

    tf.saved_model.save(module, str(tmp_path / "m"), signatures={signature.NAME: serve})
    found = signature.read(tmp_path / "m", tiny.SCHEMA).absolute_paths
    assert "/home/someone/data.csv" in found


def test_vocabulary_words_are_no_paths(exported: pathlib.Path) -> None:
    assert b"/tablet/a" in (exported / "saved_model.pb").read_bytes()
    assert signature.read(exported, tiny.SCHEMA).absolute_paths == ()


def test_parity(exported: pathlib.Path) -> None:
    request = serving_request.random(tiny.SCHEMA, 5, seed=9)
    expected = tiny.model().predict(request)
    good = verification.verify(exported, [verification.Case(request, expected)])
    assert good.ok
    assert good.checks[-1].name == "parity"
    for wrong in (expected["buy"] + np.float32(2e-6), expected["buy"] * np.float32(np.nan), expected["buy"][:4]):
        bad = verification.verify(exported, [verification.Case(request, {**expected, "buy": wrong})])
        assert set(_failed(bad)) == {"parity"}


def test_equal_exports_of_two_processes_are_equal_bytes(tmp_path: pathlib.Path) -> None:
    # Below app.run, as in a command: TensorFlow behaves differently when it is first imported there.
    code = (
        "import sys, pathlib\nfrom absl import app\n"
        "def main(argv):\n    from tests.export import tiny\n    tiny.write_version(pathlib.Path(argv[1]))\napp.run(main)"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], cwd=root) for name in ("one", "two")]
    assert [process.wait() for process in started] == [0, 0]
    assert len(manifest.file_names(tmp_path / "one")) == len(FILES)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_manifest_of_another_version(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    files.write_json(directory / manifest.FILE, {**manifest.read(directory), "format_version": 99})
    assert "format version 99, this pfrec reads 1" in _failed(verification.verify(directory))["manifest"]
