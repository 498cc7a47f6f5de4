"""What a model card says of its inputs."""

import dataclasses

import pytest

from export.version import model_card
from pfrec.data import schema


def feature(words):
    return schema.Categorical("city", 5000, "private", "local_vocabulary", words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("a", "b|c"), "one of 2 words: `a`, `b\\|c`"),
        ((), "no word was learned"),
        (
            tuple(f"w{number}" for number in range(1234)),
            "one of 1,234 words: `vocabulary` of `city` under `schema.categorical` in "
            "pfrec_manifest.json",
        ),
    ],
)
def test_words_that_were_learned_are_listed_or_named_where_they_are(words, text):
    """Not the room for them, which is larger."""
    assert model_card._values(feature(words)) == text


def test_lists_say_so():
    several = dataclasses.replace(feature(("a",)), values=3, separator="|")
    assert model_card._values(several).startswith("a list; one of 1 words: `a`; the first 3 count")
