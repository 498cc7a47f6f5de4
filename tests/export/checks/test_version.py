"""Broken versions are refused, by the check that should see it."""

import pathlib
import shutil
import subprocess
import sys
from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import interface
from export.checks import answers, saved_graph
from export.checks import version as version_checks
from export.graph import requests, saved_variables, serving_module
from export.version import manifest, model_card, sample_request, warmup
from pfrec import errors, files
from tests.export import tiny

FILES = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "fingerprint.pb",
    warmup.FILE,
    model_card.FILE,
    sample_request.FILE,
    manifest.FILE,
)


def _failed(report: version_checks.Report) -> "dict[str, str]":
    return {check.name: check.detail for check in report.checks if not check.ok}


def _sign(directory: pathlib.Path) -> None:
    """Makes the manifest fit files that were changed, so that other checks must see the change."""
    manifest.write(directory, manifest.read(directory))


def test_good_version_passes(exported: pathlib.Path) -> None:
    report = version_checks.verify(exported)
    assert report.ok
    assert [c.name for c in report.checks][-6:] == [
        "batch sizes",
        "unknown values",
        "tf.Example",
        "warm-up replay",
        "recorded answers",
        "refusals",
    ]
    report.require()


def test_good_router_passes(routed: pathlib.Path) -> None:
    report = version_checks.verify(routed)
    assert report.ok
    assert "an unknown scenario (classify)" in report.checks[-1].detail


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
    report = version_checks.verify(root)
    assert set(_failed(report)) == {"manifest"} if name == manifest.FILE else {"files"}
    assert name in "".join(_failed(report).values())
    with pytest.raises(errors.PfrecError, match="refused"):
        report.require()


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.97])
def test_any_flip_in_the_manifest_is_refused(
    copy: Callable[..., pathlib.Path], place: float
) -> None:
    path = copy() / manifest.FILE
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert not version_checks.verify(path.parents[1]).ok


@pytest.mark.parametrize("name", ["variables", "assets.extra", "assets"])
def test_lost_directory_is_refused(copy: Callable[..., pathlib.Path], name: str) -> None:
    directory = copy()
    (directory / "assets").mkdir(exist_ok=True)
    shutil.rmtree(directory / name)
    report = version_checks.verify(directory)
    # A model of ours keeps its vocabularies in the graph: an empty `assets` may go.
    assert report.ok == (name == "assets")
    if name != "assets":
        assert set(_failed(report)) == ({"manifest"} if name == "assets.extra" else {"files"})


def test_extra_file_is_named(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    (directory / "assets").mkdir(exist_ok=True)
    (directory / "assets" / "notes.txt").write_text("x")
    assert (
        "assets/notes.txt is not in the manifest"
        in _failed(version_checks.verify(directory))["files"]
    )


# TensorFlow keeps no checksum of the graph: a flip there is seen by the manifest alone, in the test
# above.
@pytest.mark.parametrize(
    ("name", "check", "damage"),
    [
        (name, check, damage)
        for name, check in (
            ("saved_model.pb", "graph"),
            ("variables/variables.index", "variables"),
            ("variables/variables.data-00000-of-00001", "load"),
            (warmup.FILE, "warm-up file"),
        )
        for damage in ("remove", "truncate", "flip")
        if (name, damage) != ("saved_model.pb", "flip")
    ],
)
def test_damage_is_seen_without_checksums(
    copy: Callable[..., pathlib.Path], name: str, check: str, damage: str
) -> None:
    path = copy() / name
    content = path.read_bytes()
    path.unlink()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    directory = path.parents[len(pathlib.PurePath(name).parts) - 1]
    _sign(directory)
    assert check in _failed(version_checks.verify(directory))


def test_changed_weight_is_seen_without_checksums(tmp_path: pathlib.Path) -> None:
    tiny.write_version(tmp_path / "1")
    other = serving_module.ServingModule(tiny.Network(seed=1), tiny.SERVED)
    serving_module.save(other, tiny.SERVED, tmp_path / "1")
    _sign(tmp_path / "1")
    assert "recorded answers" in _failed(version_checks.verify(tmp_path / "1"))


@pytest.mark.parametrize("name", [interface.CLASSIFY, interface.REGRESS, interface.SERVE])
def test_wrong_method_name_is_refused(copy: Callable[..., pathlib.Path], name: str) -> None:
    directory = copy()
    wrong = (
        "tensorflow/serving/predict" if name != interface.SERVE else "tensorflow/serving/regress"
    )
    serving_module.set_methods(directory, {name: wrong})
    _sign(directory)
    failed = _failed(version_checks.verify(directory))
    assert set(failed) == {"signatures"}
    assert f"{name}: method {name!r} is {wrong}" in failed["signatures"]


def test_missing_signature_is_refused(copy: Callable[..., pathlib.Path]) -> None:
    path = copy() / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    del saved.meta_graphs[0].signature_def["regress_buy"]
    path.write_bytes(saved.SerializeToString())
    _sign(path.parent)
    assert _failed(version_checks.verify(path.parent)) == {
        "signatures": "the signatures regress_buy are not in both the graph and the schema"
    }


def _warm(
    directory: pathlib.Path, features: Any, name: str = interface.SERVE, model: str = "NL"
) -> None:
    """Puts a request of these features in place of the one to `name`."""
    kept = [replay.request for replay in warmup.read(directory) if replay.signature != name]
    warmup.write(directory, [*kept, warmup.request_for(model, tiny.SERVED, name, features)])
    _sign(directory)


def test_warmup_with_another_feature_is_refused(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    request = requests.random(tiny.SERVED, 2, seed=0)
    request["stranger"] = request.pop("age")
    _warm(directory, request)
    assert set(_failed(version_checks.verify(directory))) == {"warm-up file"}


def test_warmup_that_the_model_refuses(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    request = requests.random(tiny.SERVED, 2, seed=0)
    _warm(directory, {**request, "age": request["age"][:1]})
    assert set(_failed(version_checks.verify(directory))) == {"warm-up replay", "recorded answers"}


def test_warmup_of_each_signature_and_of_this_model(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    request = requests.random(tiny.SERVED, 2, seed=0)
    _warm(directory, request, interface.REGRESS, model="ES")
    assert "for model 'ES', not 'NL'" in _failed(version_checks.verify(directory))["warm-up file"]
    warmup.write(
        directory,
        [
            replay.request
            for replay in warmup.read(directory)
            if replay.signature != interface.REGRESS
        ],
    )
    _sign(directory)
    assert _failed(version_checks.verify(directory)) == {
        "warm-up file": "no warm-up request for regress"
    }


def _write_saved_model(directory: pathlib.Path, module: tf.Module, functions: Any) -> None:
    """A version with any functions, whose manifest says that all is well."""
    tf.saved_model.save(module, str(directory), signatures=functions)
    present = {n: s.method for n, s in tiny.SERVED.signatures().items() if n in functions}
    serving_module.set_methods(directory, present)
    real = requests.random(tiny.SERVED, 32, seed=0)
    warmup.write(directory, warmup.requests("NL", tiny.SERVED, real))
    described = manifest.describe(
        model="NL",
        scenario="NL",
        served=tiny.SERVED,
        variables=saved_variables.shapes(directory),
        run={"id": "abc", "round": 4},
        made={"folded": False},
        expected={task: values.tolist() for task, values in tiny.model().predict(real).items()},
    )
    manifest.write(directory, described)


def test_foreign_variable_is_named(tmp_path: pathlib.Path) -> None:
    module = serving_module.ServingModule(tiny.Network(), tiny.SERVED)
    module.planted = tf.Variable(tf.zeros([7]), name="tower_of_another")
    _write_saved_model(tmp_path, module, module.functions)
    failed = _failed(version_checks.verify(tmp_path))
    assert set(failed) == {"variables"}
    assert "tower_of_another" in failed["variables"]


def _unchecked(outputs: Any) -> "tuple[tf.Module, dict[str, Any]]":
    """A module with the right inputs whose outputs `outputs(x)` gives, x being float32 [rows];
    it does not check shapes.
    """
    specs = {
        name: tf.TensorSpec(tiny.SERVED.shape(name), dtype, name=name)
        for name, dtype in tiny.SERVED.inputs().items()
    }
    module = serving_module.ServingModule(tiny.Network(), tiny.SERVED)
    serve = tf.function(
        lambda inputs: outputs(inputs["price"]), input_signature=[specs]
    ).get_concrete_function()
    return module, {**module.functions, interface.SERVE: serve}


@pytest.mark.parametrize(
    ("outputs", "checks"),
    [
        (lambda x: {"click": tf.sigmoid(x), "purchase": tf.sigmoid(x)}, {"signatures"}),
        (lambda x: {"click": tf.cast(x, tf.float64), "buy": x}, {"signatures"}),
        (lambda x: {"click": tf.sigmoid(x), "buy": x * 1e3}, {"batch sizes"}),
        (
            lambda x: {
                "click": tf.sigmoid(x),
                "buy": tf.where(tf.math.is_nan(x), x, tf.sigmoid(x)),
            },
            {"unknown values"},
        ),
        (
            lambda x: {"click": tf.sigmoid(x), "buy": tf.sigmoid(x)},
            {"refusals", "tf.Example", "recorded answers"},
        ),
    ],
)
def test_wrong_answers_are_refused(
    tmp_path: pathlib.Path, outputs: Any, checks: "set[str]"
) -> None:
    module, functions = _unchecked(outputs)
    _write_saved_model(tmp_path, module, functions)
    assert checks <= set(_failed(version_checks.verify(tmp_path)))


def test_operation_of_training_is_named(tmp_path: pathlib.Path) -> None:
    module, functions = _unchecked(
        lambda x: {
            "click": tf.sigmoid(tf.nn.experimental.stateless_dropout(x, 0.5, [1, 2])),
            "buy": tf.sigmoid(x),
        }
    )
    _write_saved_model(tmp_path, module, functions)
    assert "StatelessRandom" in _failed(version_checks.verify(tmp_path))["operations"]


def test_a_graph_that_writes_a_file_is_not_run(tmp_path: pathlib.Path) -> None:
    written = tmp_path / "written"

    def outputs(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(written), "x")]):
            return {"click": tf.sigmoid(x), "buy": tf.sigmoid(x)}

    module, functions = _unchecked(outputs)
    _write_saved_model(tmp_path / "m", module, functions)
    report = version_checks.verify(tmp_path / "m")
    assert "WriteFile (serving_default)" in _failed(report)["operations"]
    assert "load" not in {check.name for check in report.checks}
    assert not written.exists()


def test_absolute_path_is_named(tmp_path: pathlib.Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    initial = tf.lookup.TextFileInitializer(
        str(words),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initial, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="device")])
    def serve(device):
        return {
            "click": tf.cast(module.table.lookup(device), tf.float32),
            "leak": tf.fill([1], "/home/someone/data.csv"),
        }

    tf.saved_model.save(module, str(tmp_path / "m"), signatures={interface.SERVE: serve})
    found = saved_graph.read(tmp_path / "m", tiny.SERVED).absolute_paths
    assert "/home/someone/data.csv" in found


def test_vocabulary_words_are_no_paths(exported: pathlib.Path) -> None:
    assert b"/tablet/a" in (exported / "saved_model.pb").read_bytes()
    assert saved_graph.read(exported, tiny.SERVED).absolute_paths == ()


def test_parity(exported: pathlib.Path) -> None:
    request = requests.random(tiny.SERVED, 5, seed=9)
    expected = tiny.model().predict(request)
    good = version_checks.verify(exported, [answers.Case(request, expected)])
    assert good.ok
    assert [check.name for check in good.checks[-2:]] == ["parity", "ranking"]
    for wrong in (
        expected["buy"] + np.float32(2e-6),
        expected["buy"] * np.float32(np.nan),
        expected["buy"][:4],
    ):
        bad = version_checks.verify(
            exported,
            [answers.Case(request, expected), answers.Case(request, {**expected, "buy": wrong})],
        )
        assert set(_failed(bad)) == {"parity"}


def test_equal_exports_of_two_processes_are_equal_bytes(tmp_path: pathlib.Path) -> None:
    # Below app.run, as in a command: TensorFlow behaves differently when it is first imported
    # there.
    code = (
        "import sys, pathlib\nfrom absl import app\n"
        "def main(argv):\n    from tests.export import tiny\n    "
        "tiny.write_version(pathlib.Path(argv[1]))\napp.run(main)"
    )
    root = pathlib.Path(__file__).resolve().parents[3]
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], cwd=root)
        for name in ("one", "two")
    ]
    assert [process.wait() for process in started] == [0, 0]
    assert len(manifest.file_names(tmp_path / "one")) == len(FILES)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), (
            name
        )


def test_manifest_of_another_version(copy: Callable[..., pathlib.Path]) -> None:
    directory = copy()
    files.write_json(directory / manifest.FILE, {**manifest.read(directory), "format_version": 99})
    assert (
        "format version 99, this pfrec reads 1"
        in _failed(version_checks.verify(directory))["manifest"]
    )
