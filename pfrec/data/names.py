"""Names that every later stage can bear, made once from those that a user's files hold.

A feature's or task's name becomes the name of variables, of files and of a served input; a
scenario's that of a directory. What can be one of these stays as it is. Anything else becomes its
letters and digits, and the user's own stays beside it: as the `column` of the feature or task in
the schema, as the scenario's value in `dataset.json`.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from pfrec import names as directories

# What a variable, a file and an input of a SavedModel can all be called.
_PLAIN = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./-]*")


def internal_names(names: Sequence[str]) -> "dict[str, str]":
    """Per name of a feature or task, the one by which models, reports and signatures call it.

    They differ. A function of all names in their order, so that all parties have the same.
    """
    made = {name: name for name in names if _PLAIN.fullmatch(name)}
    for name in names:
        if name not in made:
            plain = _plain(name)
            taken = set(made.values())
            made[name] = (
                plain if plain and plain not in taken else f"{plain or 'column'}_{_digest(name)}"
            )
    return made


def scenario_name(value: str) -> str:
    """The directory's name of a scenario, a function of its value alone."""
    if directories.is_name(value):
        return value
    return f"{_plain(value)[:40] or 'scenario'}-{_digest(value)}"


def meant(text: str, known: Sequence[str]) -> str:
    """The scenario among the names `known` that a user calls by its value in the raw files or by
    its name; the text as it is where it is none of them.
    """
    name = scenario_name(text.strip()) if text.strip() else text
    return name if name in known else text


def _plain(text: str) -> str:
    """Its letters and digits without accents; anything between them is one underscore."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", ascii_text).strip("_")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
