"""The C library's answers, in a process without TensorFlow's Python."""

import concurrent.futures
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from export import interface
from export.checks import c_library, fresh_process, saved_graph
from export.graph import requests as requests_lib
from pfrec import errors
from tests.export import tiny


def test_answers_are_those_of_the_trained_model(exported: pathlib.Path) -> None:
    names = saved_graph.read(exported, tiny.SERVED).names[interface.SERVE]
    requests = [requests_lib.random(tiny.SERVED, rows, seed=rows) for rows in (1, 7, 300)] + [
        requests_lib.hostile(tiny.SERVED)
    ]
    for request, answer in zip(
        requests,
        fresh_process.run(exported, [fresh_process.Call(names, request) for request in requests]),
    ):
        assert answer.error is None
        for task, expected in tiny.model().predict(request).items():
            assert answer.outputs[task].dtype == np.float32
            np.testing.assert_allclose(answer.outputs[task], expected, rtol=0, atol=1e-6)


def test_unknown_ids_answer_as_the_unknown_id(exported: pathlib.Path) -> None:
    names = saved_graph.read(exported, tiny.SERVED).names[interface.SERVE]
    request = requests_lib.random(tiny.SERVED, 4, seed=0)
    one = {name: np.repeat(values[:1], 4, axis=0) for name, values in request.items()}
    one["101"] = np.array([5, 6, -1, 0], np.int64)
    (answer,) = fresh_process.run(exported, [fresh_process.Call(names, one)])
    click = answer.outputs["click"]
    assert click[0] == click[1] == click[2] != click[3]


def test_empty_batch(exported: pathlib.Path) -> None:
    names = saved_graph.read(exported, tiny.SERVED).names[interface.SERVE]
    (answer,) = fresh_process.run(
        exported, [fresh_process.Call(names, requests_lib.random(tiny.SERVED, 0, seed=0))]
    )
    assert {name: values.shape for name, values in answer.outputs.items()} == {
        "buy": (0,),
        "click": (0,),
    }


def test_unequal_lengths_are_named(exported: pathlib.Path) -> None:
    names = saved_graph.read(exported, tiny.SERVED).names[interface.SERVE]
    good = requests_lib.random(tiny.SERVED, 3, seed=0)
    short = {**good, "price": good["price"][:2]}
    matrix = {name: values[:, np.newaxis] for name, values in good.items()}
    answers = fresh_process.run(
        exported, [fresh_process.Call(names, request) for request in (short, matrix, good)]
    )
    assert "all of one length" in str(answers[0].error)
    assert "rank 1" in str(answers[1].error)
    assert answers[2].error is None


def test_missing_model(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PfrecError, match="does not load through the C library"):
        fresh_process.run(tmp_path, [])


def test_texts_survive_packing() -> None:
    texts = np.array([[b"", b"\x00", b"a\x00"], ["\u65b0", b"\xff", b"x" * 100]], object)
    packed = fresh_process._pack("0.0", texts)
    unpacked = fresh_process._unpack(packed, "0.0")
    assert unpacked.tolist() == [[b"", b"\x00", b"a\x00"], ["\u65b0".encode(), b"\xff", b"x" * 100]]


def test_fresh_process_does_not_import_tensorflow() -> None:
    code = "import sys, export.checks.fresh_process; print('tensorflow' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "False\n"
    )


def test_texts_come_back_and_calls_are_timed(exported: pathlib.Path) -> None:
    names = saved_graph.read(exported, tiny.SERVED).names[interface.CLASSIFY]
    examples = requests_lib.examples(requests_lib.random(tiny.SERVED, 2, seed=0))
    (answer,) = fresh_process.run(
        exported, [fresh_process.Call(names, {interface.EXAMPLES: examples}, repeats=3)]
    )
    assert answer.outputs[interface.CLASSES].tolist() == [[b"click", b"buy"]] * 2
    assert len(answer.seconds) == 3
    assert min(answer.seconds) > 0


def test_session_answers_threads_at_once_and_refuses_on_its_own(exported: pathlib.Path) -> None:
    names = saved_graph.read(exported, tiny.SERVED).names[interface.SERVE]
    session = c_library.Session(str(exported))

    def ask(seed: int) -> "list[float] | str":
        request = requests_lib.random(tiny.SERVED, 5, seed=seed)
        if seed % 3 == 0:
            request["price"] = request["price"][:2]
        try:
            (click,) = session.call(
                {names.inputs[n]: v for n, v in request.items()}, [names.outputs["click"]]
            )
        except c_library.CLibraryError as error:
            return str(error)
        return click.tolist()

    alone = [ask(seed) for seed in range(12)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(12))) == alone
    assert [isinstance(answer, str) for answer in alone] == [seed % 3 == 0 for seed in range(12)]
    session.close()


def test_texts_of_every_length_come_back_as_they_went_in(exported: pathlib.Path) -> None:
    session = c_library.Session(str(exported))
    texts = [bytes([65 + n % 26]) * n for n in range(60)] + [b"\0", b"a\0", b"\0" * 23, b"\xff\xfe"]
    values = np.empty(len(texts), object)
    values[:] = texts
    tensor = session._tensor(values)
    assert session._array(tensor).tolist() == texts
    session._library.TF_DeleteTensor(tensor)
    empty = session._tensor(np.empty((0, 2), object))
    assert session._array(empty).shape == (0, 2)
    session._library.TF_DeleteTensor(empty)
    session.close()
