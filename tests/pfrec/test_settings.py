"""Settings are written once: what is made from a field's declaration."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from pfrec import errors, settings


@dataclasses.dataclass(frozen=True)
class Own(settings.Settings, prefix="own"):
    steps: int = settings.setting(3, "how many steps", low=1)
    rate: float = settings.setting(0.5, "size of a step", above=0.0, flag="lambda", alias="rate")
    share: float = settings.setting(0.2, "share of the rows", low=0.0, below=1.0)
    kinds: "tuple[str, ...]" = settings.setting(("a",), "kinds that count", choices=("a", "b"))
    widths: "tuple[int, ...]" = settings.setting((8,), "widths of layers", low=1, least=1)
    even: bool = settings.setting(False, "whether all count alike")


def test_flags_have_the_prefix_and_a_name_of_their_own_where_it_is_given():
    flags = [one.flag for one in settings.of(Own)]
    assert flags == ["own_steps", "own_lambda", "own_share", "own_kinds", "own_widths", "own_even"]
    assert settings.names(Own) == {*flags, "rate"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "own_steps is 0; it must be at least 1"),
        ({"steps": 1.5}, "own_steps is 1.5; it must be int"),
        ({"steps": True}, "own_steps is True; it must be int"),
        ({"rate": 0.0}, "own_lambda is 0.0; it must be finite and above 0"),
        ({"rate": float("nan")}, "own_lambda is nan; it must be finite and above 0"),
        ({"rate": float("inf")}, "own_lambda is inf; it must be finite and above 0"),
        ({"share": 1.0}, "own_share is 1.0; it must be at least 0 and below 1"),
        ({"kinds": ("a", "c")}, r"own_kinds is \('a', 'c'\); it must be one of a, b, each"),
        ({"kinds": "a"}, "own_kinds is 'a'; it must be several str"),
        ({"widths": ()}, "own_widths is empty; it must hold at least 1"),
        ({"even": "no"}, "own_even is 'no'; it must be bool"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_it_must_be(given, message):
    with pytest.raises(errors.PfrecError, match=f"^{message}$"):
        Own(**given)


def test_texts_and_values_are_inverse():
    made = Own(4, 0.25, 0.0, ("b", "a"), (4, 2), True)
    texts = {one.flag: one.text(getattr(made, one.name)) for one in settings.of(Own)}
    assert texts["own_widths"] == "4,2"
    assert Own().replaced(texts) == made
    assert Own().replaced({"rate": "2", "another": "1"}) == Own(rate=2.0)
    for text, message in [
        ({"own_steps": "1.5"}, "own_steps=1.5: give whole numbers"),
        ({"own_widths": "4,x"}, "own_widths=4,x: give whole numbers between commas"),
        ({"own_even": "maybe"}, "own_even=maybe: give true or false"),
    ]:
        with pytest.raises(errors.PfrecError, match=message):
            Own().replaced(text)


def test_plain_data_survive_json_and_may_lack_what_came_later():
    made = Own(4, 2, 0.0, ("b",), (4, 2), True)
    assert made.rate == 2.0
    record = json.loads(json.dumps(made.to_json()))
    assert Own.from_json(record) == made
    del record["share"]
    assert Own.from_json(record) == dataclasses.replace(made, share=0.2)
    with pytest.raises(errors.PfrecError, match=r"^speed is no setting of this pfrec, which has"):
        Own.from_json({"speed": 1})


def test_a_difference_is_named_and_what_is_missing_had_its_default():
    defaults = {"a": 1, "inner": {"b": [1, 2]}}
    same = {"a": 1, "inner": {"b": (1, 2)}}
    assert settings.first_difference({}, same, defaults) == ""
    assert settings.first_difference(same, {**same, "a": 2}, defaults) == "a was 1 and is 2"
    other = {"inner": {"b": [1]}}
    assert settings.first_difference(other, {}, defaults) == "inner.b was [1] and is [1, 2]"


def test_a_table_has_a_row_for_each():
    rows = settings.table(Own)
    assert rows[1] == "| `--own_lambda`, `--rate` | 0.5 | finite and above 0 | size of a step |"
    assert rows[3] == "| `--own_kinds` | a | one of a, b | kinds that count |"


def test_all_settings_are_read_without_tensorflow_and_numpy():
    program = (
        "import sys; from tff_process.commands import flags; flags.define(); "
        "print(*{'tensorflow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_numbers_of_numpy_are_python_s():
    made = Own(np.int64(4), np.float32(0.25), widths=[np.int32(4), 2])
    assert made == Own(4, 0.25, widths=(4, 2))
    assert json.loads(json.dumps(made.to_json())) == Own(4, 0.25, widths=(4, 2)).to_json() | {
        "kinds": ["a"],
        "widths": [4, 2],
    }
    with pytest.raises(errors.PfrecError, match=r"own_steps is 4\.0; it must be int"):
        Own(np.float64(4.0))
