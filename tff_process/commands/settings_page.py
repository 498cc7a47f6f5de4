"""Writes docs/settings.md: every setting of a training, as its declaration says.

python -m tff_process.commands.settings_page > docs/settings.md
"""

from pfrec import settings as settings_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.algorithms import registry

_HEAD = """# Settings of a training

Made from the declarations by `python -m tff_process.commands.settings_page > docs/settings.md`.
Every line is a flag of `pfrec-train` and `pfrec-compare`, may stand behind an algorithm's name in
`pfrec-compare --algorithms=NAME:FLAG=VALUE`, and is a field of `tff_process.plan.Plan`, of its
`model` or of its `settings`. A second flag in a line is the older name of the same."""


def page() -> str:
    """The content of docs/settings.md."""
    lines = [_HEAD, *_section("All algorithms", plan_lib.Plan), *_section("Model", ModelConfig)]
    for settings, names in registry.all_settings().items():
        lines += _section(", ".join(f"`{name}`" for name in names), settings)
    return "\n".join(lines) + "\n"


def _section(title: str, settings: "type[settings_lib.Settings]") -> "list[str]":
    rows = settings_lib.table(settings)
    head = ["| flag | default | what it may be | what it is |", "| --- | --- | --- | --- |"]
    return ["", f"## {title}", "", *head, *rows]


if __name__ == "__main__":
    print(page(), end="")
