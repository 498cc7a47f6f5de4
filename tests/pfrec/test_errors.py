"""Errors of TensorFlow's as users read them."""

import pytest

from pfrec import errors


@pytest.mark.parametrize(
    ("details", "line"),
    [
        (
            "Failed to run computation: runs/a; No such file\n\t [[{{node SaveV2}}]]",
            "Failed to run computation: runs/a; No such file",
        ),
        (
            "{{function_node __inference_loop_7}} NaN in loss\n [[{{node loop/Check}}]]\nHint: If "
            "you want to see a list of tensors",
            "NaN in loss",
        ),
        (
            "OOM when allocating [2,3]\nHint: If you want to see a list of allocated tensors",
            "OOM when allocating [2,3]",
        ),
        (
            "2 root error(s) found.\n  (0) DATA_LOSS: corrupted record at 12\n\t [[{{node "
            "Next}}]]\n  (1) DATA_LOSS: the same",
            "DATA_LOSS: corrupted record at 12",
        ),
        (
            "{{function_node __wrapped__SaveV2_device_/job:localhost}} run/.tmp-x: No space left "
            "on device [Op:SaveV2]",
            "run/.tmp-x: No space left on device",
        ),
        ("plain", "plain"),
        ("x" * 401, "x" * 400 + "..."),
    ],
)
def test_nodes_and_hints_are_left_out(details, line):
    assert errors.readable(details) == line
