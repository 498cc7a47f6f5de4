"""The model card of a version: what it is, what it takes and gives, and how good it was,
for a person.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from export import interface
from export.version import manifest, sample_request
from pfrec import cells, files

FILE = "assets.extra/model_card.md"
_LISTED_WORDS = 20
_COLUMNS = ("rows", "positives", "auc", "logloss", "ece")


def write(
    directory: pathlib.Path,
    described: Mapping[str, Any],
    served: interface.Interface,
    metrics: "Mapping[str, Mapping[str, Mapping[str, Any]]]",
) -> None:
    """Writes the card into a version's directory.

    It holds no times, so that equal exports have equal cards.

    Args:
      directory: of the version.
      described: what `manifest.describe` made of it.
      served: its interface.
      metrics: of the test rows by scenario and task, where they are known.

    Raises:
      PfrecError: where it cannot be written.
    """
    files.write_bytes(directory / FILE, text(described, served, metrics).encode())


def text(
    described: Mapping[str, Any],
    served: interface.Interface,
    metrics: "Mapping[str, Mapping[str, Mapping[str, Any]]]",
) -> str:
    """The card as Markdown."""
    whose = (
        f"scenario `{described['scenario']}`"
        if described["scenario"]
        else f"scenarios {', '.join(served.scenarios)}"
    )
    made = described["made"]
    lines = [
        f"# {described['model']}",
        "",
        f"Ranks candidates of {whose}: one probability per task. Trained federatedly by pfrec, run "
        f"`{described['run']['id']}`, "
        f"round {described['run']['round']}.",
        "",
        f"- {'Folded for inference' if made['folded'] else 'Not folded'}; embeddings are "
        f"{made['embedding_dtype']}.",
        "- An id out of range, and a word outside a vocabulary, counts as unknown. A number that "
        "is NaN or infinite becomes its default.",
        f"- {sample_request.FILE} is made of random values and can be sent as it is: `curl -d "
        f"@{sample_request.NAME} http://HOST:8501/v1/models/{described['model']}:predict`. Every "
        "input must be there; a number that is not known is sent as its default. `classify` and "
        "`regress` take the default of a number that an example lacks.",
        "- The warm-up requests in this directory are random rows. The tables tell which ids of "
        "private features enough training rows held: give the directory to those who may know.",
        "",
        "## Inputs",
        "",
        "| input | type | values |",
        "| --- | --- | --- |",
    ]
    if served.scenarios:
        lines.append(
            f"| {interface.SCENARIO} | string | {', '.join(served.scenarios)}; any other is "
            "an error |"
        )
    lines += [
        f"| {f.name} | {'int64' if f.encoding == 'identity' else 'string'} | "
        f"{_values(f)}{_column(f)} |"
        for f in served.schema.categorical
    ]
    lines += [
        f"| {c.name} | float32 | "
        f"{f'{c.values} numbers; ' if c.values > 1 else ''}default {c.default:g}{_column(c)} |"
        for c in served.schema.numerical
    ]
    lines += ["", "## Outputs", "", "| task | label | given |", "| --- | --- | --- |"]
    lines += [
        f"| {task.name} | {task.column} | {task.given or 'all rows'} |"
        for task in served.schema.tasks
    ]
    if metrics:
        lines += [
            "",
            "## Test rows of training",
            "",
            "As a scenario says them: of federated training its positives and its negatives are "
            "each rounded down to two digits.",
            "",
            f"| scenario | task | {' | '.join(_COLUMNS)} |",
        ]
        lines.append("| --- " * (2 + len(_COLUMNS)) + "|")
        for scenario, tasks in sorted(metrics.items()):
            for task, cell in sorted(tasks.items()):
                known = [_number(cell.get(name)) for name in _COLUMNS]
                told = known if cells.served(cell) else [cells.NOT_SERVED] * len(_COLUMNS)
                lines.append(f"| {scenario} | {task} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _column(feature: Any) -> str:
    """What an input is called in the raw data, where its name differs."""
    return f"; raw column `{feature.raw}`" if feature.raw != feature.name else ""


def _values(feature: Any) -> str:
    if feature.encoding == "identity":
        values = f"0 to {feature.cardinality - 1}"
    elif feature.encoding == "hash":
        values = f"any text, hashed to {feature.cardinality} ids"
    else:
        values = _words(feature)
    if feature.values == 1:
        return values
    filler = "-1" if feature.encoding == "identity" else "empty text"
    return f"a list; {values}; the {feature.keep} {feature.values} count, {filler} fills up"


def _words(feature: Any) -> str:
    """The words that the model learned, or where they are."""
    known = feature.vocabulary
    if len(known) > _LISTED_WORDS:
        return (
            f"one of {len(known):,} words: `vocabulary` of `{feature.name}` under "
            f"`schema.categorical` in {pathlib.PurePath(manifest.FILE).name}"
        )
    listed = ", ".join(f"`{word}`".replace("|", "\\|") for word in known)
    return f"one of {len(known)} words: {listed}" if known else "no word was learned"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
