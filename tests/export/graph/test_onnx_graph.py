"""The ONNX file of a folded network in ONNX Runtime, held against the trained network."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest

from export import interface
from export.checks import onnx_file
from export.checks import version as version_checks
from export.exporting import build, trained
from export.graph import folding, onnx_graph
from export.graph import requests as requests_lib
from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from tests.export import tiny
from tests.export.graph import test_folding

_MIXED = schema_lib.Schema(
    (
        schema_lib.Categorical("user", 3000, "private"),
        schema_lib.Categorical("city", 11, encoding="hash"),
        schema_lib.Categorical(
            "device", 3, encoding="vocabulary", vocabulary=("phone", "/tablet/a", "\u7535\u8111")
        ),
        schema_lib.Categorical("small", 5),
        schema_lib.Categorical("empty", 2, encoding="vocabulary"),
        schema_lib.Categorical("visited", 6, values=3, separator="|"),
        schema_lib.Categorical("latest", 6, values=2, separator="|", keep=schema_lib.LAST),
        schema_lib.Categorical("words", 7, encoding="hash", values=4, separator=" "),
    ),
    (
        schema_lib.Numerical("price", default=0.5, normalise="standard", shift=2.0, scale=3.0),
        schema_lib.Numerical("place", values=2, separator=" "),
    ),
    (schema_lib.Task("click", "clicked"), schema_lib.Task("buy", "bought", given="click")),
)
_IDS = dataclasses.replace(_MIXED, categorical=_MIXED.categorical[3:4], numerical=())
_NUMBERS = dataclasses.replace(_MIXED, categorical=())


def _model(schema: schema_lib.Schema, config: ModelConfig) -> trained.TrainedModel:
    network = test_folding._trained(schema, config)
    rows = tiny.rows(schema=schema)
    return trained.TrainedModel("NL", network, schema, rows, {"id": "abc", "round": 4})


def _session(schema: schema_lib.Schema, content: bytes) -> onnx_file.Session:
    return onnx_file.Session(content, interface.Interface(schema))


def _write(model: trained.TrainedModel, path: pathlib.Path, **options: Any) -> bytes:
    folded = folding.fold(model.network, **options)
    onnx_graph.write(folded, model.served, path)
    return onnx_file.read(path, model.served)[1]


@pytest.mark.parametrize("template", ["none", "additive"])
@pytest.mark.parametrize("schema", [_MIXED, _IDS, _NUMBERS])
def test_the_file_says_what_the_trained_network_says(
    schema: schema_lib.Schema, template: str, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    config = dataclasses.replace(test_folding.CONFIG, template=template)
    model = _model(schema, config)
    session = _session(schema, _write(model, tmp_path / "model.onnx"))
    for request in (
        model.requests(),
        requests_lib.random(model.served, 33, seed=1),
        requests_lib.take(model.requests(), slice(0, 1)),
        requests_lib.hostile(model.served),
    ):
        answer, expected = session.call(request), model.predict(request)
        assert answer.error is None
        for task, values in expected.items():
            np.testing.assert_allclose(answer.outputs[task], values, atol=1e-5)


def test_large_tables_in_half_precision_and_lists_without_a_column(
    tmp_path: pathlib.Path,
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = _model(_MIXED, dataclasses.replace(test_folding.CONFIG, numeric_dim=0))
    content = _write(model, tmp_path / "half.onnx", embedding_dtype="float16")
    for embedding in model.network.embeddings:
        table = embedding.table
        if table.shape[0] > folding.TABLE_ROWS or table.shape[0] in (7, 8):
            table.assign(table.numpy().astype(np.float16).astype(np.float32))
    request = model.requests()
    request["visited"] = request["visited"][:, :0]
    answer, expected = _session(_MIXED, content).call(request), model.predict(request)
    assert answer.error is None
    np.testing.assert_allclose(answer.outputs["click"], expected["click"], atol=1e-5)


def test_features_of_different_lengths_are_refused(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = _model(_MIXED, test_folding.CONFIG)
    session = _session(_MIXED, _write(model, tmp_path / "model.onnx"))
    given = onnx_file.feeds(requests_lib.take(model.requests(), slice(0, 4)), model.served)
    folded = [f.name for f in _MIXED.categorical if f.values == 1 and f.name != "user"]
    for names in (["small"], ["user"], ["price"], ["device"], ["visited"], folded):
        cut = {name: given[name][:1] for name in names}
        with pytest.raises(Exception, match=r"dimension|shape"):
            session._session.run(None, {**given, **cut})


def test_equal_models_make_equal_files(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("onnx")
    one, two = (
        _write(_model(_IDS, test_folding.CONFIG), tmp_path / f"{number}.onnx")
        for number in range(2)
    )
    assert one == two


def test_an_export_verifies_and_a_changed_file_does_not(tmp_path: pathlib.Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, directory = _model(_MIXED, test_folding.CONFIG), tmp_path / "NL" / "1"
    directory.mkdir(parents=True)
    built = build.build(model, "NL", directory, build.Options(onnx=True))
    names = [check.name for check in built.report.checks]
    assert names[-4:] == ["ONNX file", "ONNX load", "ONNX answers", "ONNX parity"]
    assert set(built.onnx_latency_ms) == {"1", "32", "512"}
    alone = version_checks.verify(directory)  # As pfrec-verify does, which has no rows of its own.
    assert alone.ok
    assert "; 32 rows in the trained model's order" in alone.checks[-1].detail
    file = directory / onnx_graph.FILE
    changed = onnx.load_model_from_string(file.read_bytes())
    cut = changed.graph.initializer[0]
    wrong = onnx.numpy_helper.to_array(cut) + np.float32(1)
    cut.CopyFrom(onnx.numpy_helper.from_array(wrong, cut.name))
    session = _session(_MIXED, changed.SerializeToString())
    expected = [onnx_file.answers_lib.Case(model.requests(), model.predict(model.requests()))]
    with pytest.raises(errors.PfrecError, match="above 1e-05"):
        onnx_file.trained(session, expected)
    with pytest.raises(errors.PfrecError, match="nothing is known of what the trained model"):
        onnx_file.trained(session, [])
    with pytest.raises(errors.PfrecError, match="from the SavedModel"):
        onnx_file.agreement(session, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda onnx, m: setattr(m.graph.node[0], "op_type", "Loop"), "Loop"),
        (lambda onnx, m: setattr(m.graph.node[0], "domain", "com.example"), "com.example"),
        (lambda onnx, m: m.functions.add(name="f", domain="d"), "the function f"),
        (lambda onnx, m: setattr(m.graph.initializer[0], "data_location", 1), "another file"),
        (lambda onnx, m: m.training_info.add(), "a training"),
        (
            lambda onnx, m: m.graph.node[0].attribute.add(name="body", type=5).g.SetInParent(),
            "a graph inside body",
        ),
    ],
)
def test_what_no_export_has_is_not_run(change: Any, words: str, tmp_path: pathlib.Path) -> None:
    onnx = pytest.importorskip("onnx")
    content = _write(_model(_IDS, test_folding.CONFIG), tmp_path / "model.onnx")
    model = onnx.load_model_from_string(content)
    assert onnx_file.not_allowed(model) == ()
    change(onnx, model)
    assert words in "; ".join(onnx_file.not_allowed(model))
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(errors.PfrecError, match=r"cannot be read|is not run"):
        onnx_file.read(tmp_path / "bad.onnx", interface.Interface(_IDS))


def test_another_interface_and_a_cut_file_are_refused(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    content = _write(_model(_IDS, test_folding.CONFIG), path)
    with pytest.raises(errors.PfrecError, match="input 'place' is absent"):
        onnx_file.read(path, interface.Interface(_NUMBERS))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(errors.PfrecError, match=r"model\.onnx cannot be read"):
        onnx_file.read(path, interface.Interface(_IDS))


def test_what_cannot_come_into_a_graph_is_told() -> None:
    lists = schema_lib.Categorical(
        "tags", 1, encoding="vocabulary", vocabulary=("a",), values=2, separator="|"
    )
    with pytest.raises(errors.PfrecError, match="tags has lists of words"):
        onnx_graph.check(interface.Interface(dataclasses.replace(_IDS, categorical=(lists,))))
    with pytest.raises(errors.PfrecError, match=r"--onnx needs --fold and an MMoE"):
        build.write(tiny.model(), "NL", pathlib.Path("unused"), build.Options(onnx=True))
    with pytest.raises(errors.PfrecError, match=r"pip install 'pfrec\[onnx\]'"):
        onnx_graph.package("no_such_package")
