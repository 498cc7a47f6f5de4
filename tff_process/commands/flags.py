"""The flags of a training, shared by `pfrec-train` and `pfrec-compare`.

Those of a plan are made from its settings (`pfrec.settings`), with those of the model and of every
algorithm, whose names begin with the algorithm's prefix.
"""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

from absl import flags

from pfrec import command, errors, run_records
from pfrec import settings as settings_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.algorithms import registry
from tff_process.commands import presets
from tff_process.runtime import options as options_lib
from tff_process.runtime import private_network


def define(*, silos: bool = False) -> None:
    """Defines the flags; called by a command's module once.

    Args:
      silos: whether --workers may take the place of --data.
    """
    flags.DEFINE_string(
        "data",
        None,
        "A directory that pfrec-convert wrote, or 'synthetic' for built-in data.",
        required=not silos,
    )
    if silos:
        define_silos()
    flags.DEFINE_integer("synthetic_scenarios", 4, "Scenarios of --data=synthetic.", lower_bound=1)
    flags.DEFINE_integer(
        "synthetic_rows",
        40_000,
        "Training and valid rows of the largest scenario of --data=synthetic.",
        lower_bound=500,
    )
    flags.DEFINE_float(
        "synthetic_shared",
        0.5,
        "Part of the signal of --data=synthetic that all scenarios share.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_integer(
        "synthetic_week", 0, "The week of --data=synthetic, with rows of its own.", lower_bound=0
    )
    flags.DEFINE_float(
        "synthetic_drift",
        0.0,
        "Part of the signal of --data=synthetic that is another after each week.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_list("skip_scenarios", [], "Scenarios of --data to leave out.")
    flags.DEFINE_integer(
        "min_rows", 0, "Scenarios of --data with fewer training rows are left out.", lower_bound=0
    )
    flags.DEFINE_string("output", None, "The directory to write.", required=True)
    define_plan()
    define_runtime(silos=silos)
    define_own(sys.argv[1:])


def define_plan() -> None:
    """Defines the flags of `plan`, which takes the algorithm and the seed apart."""
    flags.DEFINE_enum(
        "preset",
        presets.NONE,
        list(presets.PRESETS),
        "Defaults of other flags: paper, PF-MSMTRec as its source describes it "
        "(docs/algorithms.md).",
    )
    with command.group("Training"):
        define_settings(plan_lib.Plan)
    with command.group("Model"):
        define_settings(ModelConfig)
    for settings, names in registry.all_settings().items():
        with command.group(f"Of {', '.join(names)}"):
            define_settings(settings)
    flags.DEFINE_multi_string(
        "sharing",
        [],
        "GROUP=shared or GROUP=private, over the algorithm's policy; GROUP may hold * (as "
        "gate/*=shared). Repeatable.",
    )
    flags.DEFINE_multi_enum(
        "withhold",
        [],
        list(plan_lib.WITHHELD),
        "What clients do not say: the loss of their training, their metrics (the last round is "
        "then the chosen one), or the coarse counts of ids "
        "of shared tables (which then count alike). Repeatable.",
    )


def define_settings(settings: "type[settings_lib.Settings]", besides: "Sequence[str]" = ()) -> None:
    """Defines the flags of a class of settings but for some, where they are not defined yet."""
    for one in settings_lib.of(settings):
        if one.flag in flags.FLAGS or one.flag in besides:
            continue
        text = f"{one.help[0].upper()}{one.help[1:]}."
        bounds = {"lower_bound": one.low, "upper_bound": one.high}
        if one.many:
            flags.DEFINE_list(one.flag, list(map(str, one.default)), text)
        elif one.kind is bool:
            flags.DEFINE_bool(one.flag, one.default, text)
        elif one.choices:
            flags.DEFINE_enum(one.flag, one.default, list(one.choices), text)
        elif one.kind is int:
            flags.DEFINE_integer(one.flag, one.default, text, **bounds)  # type: ignore[arg-type]
        elif one.kind is float:
            flags.DEFINE_float(one.flag, one.default, text, **bounds)  # type: ignore[arg-type]
        else:
            flags.DEFINE_string(one.flag, one.default, text)
        if one.alias:
            flags.DEFINE_alias(one.alias, one.flag)


def define_own(arguments: "Sequence[str]", *, simulates: bool = True) -> None:
    """Defines the flags of the user's own algorithms that a command line names, the run of
    `--init_from`, or the one that is in `--output` and resumed.

    Their modules have to be imported for that, and may import NumPy, before which what `simulates`
    enters its network. What cannot be imported is told once the command runs.
    """
    with contextlib.suppress(flags.Error, OSError):
        arguments = flags.FLAGS.read_flags_from_files(list(arguments), force_gnu=False)
    values = [text.partition("=")[2] for text in arguments if text.startswith(_NAMING)]
    for run in (*_paths(arguments, "init_from"), *_paths(arguments, "output")):
        with contextlib.suppress(errors.PfrecError, KeyError, TypeError):
            values.append(str(run_records.read_config(run)["algorithm"]))
    names = [name for value in values for entry in value.split(",") for name in _own_names(entry)]
    if not names:
        return
    if simulates and not any(text.startswith(("--workers", "-workers")) for text in arguments):
        read, write = _paths(arguments, "data"), _paths(arguments, "output")
        private_network.enter_if_permitted(read, write)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as `command.run` has it, which comes later
    for name in names:
        with contextlib.suppress(errors.PfrecError):
            settings = registry.default_settings(name)
            if settings is not None:
                define_settings(type(settings))


def _paths(arguments: "Sequence[str]", flag: str) -> "list[pathlib.Path]":
    """What a flag of the command line names, before flags are parsed."""
    starts = (f"--{flag}=", f"-{flag}=")
    return [pathlib.Path(text.partition("=")[2]) for text in arguments if text.startswith(starts)]


_NAMING = ("--algorithm=", "-algorithm=", "--algorithms=", "-algorithms=")


def _own_names(entry: str) -> "Iterator[str]":
    name, _ = registry.split(entry)
    if ":" in name:
        yield name


def define_runtime(*, silos: bool = False) -> None:
    """Defines the flags of `options`; those of silos where --workers is one."""
    define_settings(options_lib.Options, besides=() if silos else ("silo_timeout",))


def define_silos() -> None:
    """Defines the flags of a training over silos."""
    flags.DEFINE_list(
        "workers",
        [],
        "In place of --data: SCENARIO=HOST:PORT of each silo's pfrec-worker, as "
        "nl=10.0.0.2:7000,fr=10.0.0.3:7000.",
    )
    flags.DEFINE_string(
        "tls",
        None,
        "With --workers: a directory of the driver's ca.pem, certificate.pem and key.pem, for "
        "the tunnels.",
    )
