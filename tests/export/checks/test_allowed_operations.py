"""A graph's operations are told by every way on which something could run them."""

import pytest
from tensorflow.core.protobuf import meta_graph_pb2

from export.checks import allowed_operations


def graph(**places):
    """A graph whose serving, initialising,
    restoring and saving nodes are of the given operations.
    """
    made = meta_graph_pb2.MetaGraphDef()
    for place, operation in places.items():
        made.graph_def.node.add(name=place, op=operation)
    made.signature_def["serving_default"].outputs["y"].name = "serving:0"
    made.signature_def["__saved_model_init_op"].outputs["op"].name = "initialising"
    made.saver_def.restore_op_name, made.saver_def.save_tensor_name = "restoring", "saving:0"
    return made


GOOD = {
    "serving": "MatMul",
    "initialising": "LookupTableImportV2",
    "restoring": "RestoreV2",
    "saving": "SaveV2",
}


def test_what_exports_are_made_of_passes():
    assert allowed_operations.not_allowed(graph(**GOOD)) == ()


@pytest.mark.parametrize(
    ("place", "operation", "told"),
    [
        ("serving", "WriteFile", "WriteFile (serving_default)"),
        ("serving", "ReadFile", "ReadFile (serving_default)"),
        ("serving", "RestoreV2", "RestoreV2 (serving_default)"),
        ("serving", "PyFunc", "PyFunc (serving_default)"),
        ("serving", "AssignVariableOp", "AssignVariableOp (serving_default)"),
        ("initialising", "SaveV2", "SaveV2 (__saved_model_init_op)"),
        ("restoring", "WriteFile", "WriteFile (restoring)"),
        ("restoring", "SaveV2", "SaveV2 (restoring)"),
        ("saving", "WriteFile", "WriteFile (saving)"),
        ("nowhere", "WriteFile", "WriteFile (unused)"),
    ],
)
def test_an_operation_is_named_with_its_place(place, operation, told):
    assert allowed_operations.not_allowed(graph(**{**GOOD, place: operation})) == (told,)


@pytest.mark.parametrize("way", ["f", "branches", "op", "control"])
def test_functions_and_control_inputs_are_followed(way):
    made = graph(**GOOD)
    for name, called in (("outer", "inner"), ("inner", "WriteFile")):
        function = made.graph_def.library.function.add()
        function.signature.name = name
        function.node_def.add(name="n", op=called)
    node = made.graph_def.node[0]
    if way == "f":
        node.attr["f"].func.name = "outer"
    elif way == "branches":
        node.attr["branches"].list.func.add(name="outer")
    elif way == "op":
        node.op = "outer"
    else:
        made.graph_def.node.add(name="side", op="outer")
        node.input.append("^side")
    assert allowed_operations.not_allowed(made) == ("WriteFile (serving_default)",)


def test_what_a_collection_names_is_run_too():
    made = graph(**GOOD)
    made.collection_def["legacy_init_op"].node_list.value.append("saving")
    assert allowed_operations.not_allowed(made) == ("SaveV2 (legacy_init_op)",)
    made.collection_def["legacy_init_op"].bytes_list.value.append(b"saving")
    assert allowed_operations.not_allowed(made) == ("the collection legacy_init_op, not of nodes",)


def test_a_circle_of_functions_ends():
    made = graph(**GOOD)
    for number in range(3_000):
        function = made.graph_def.library.function.add()
        function.signature.name = f"f{number}"
        function.node_def.add(name="n", op=f"f{(number + 1) % 3_000}")
    made.graph_def.node[0].op = "f0"
    assert allowed_operations.not_allowed(made) == ()
