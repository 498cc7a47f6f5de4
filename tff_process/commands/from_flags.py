"""What the flags of a training ask for: a plan, a way to execute it, scenarios of a dataset."""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from pfrec import command, errors
from pfrec import settings as settings_lib
from pfrec import sharing as sharing_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.algorithms import registry
from tff_process.commands import idle_flags, presets
from tff_process.runtime import options as options_lib

if TYPE_CHECKING:
    from pfrec.data.dataset import dataset as dataset_lib


def options(config: "Mapping[str, Any]", run: pathlib.Path) -> options_lib.Options:
    """How the flags ask for the training to be executed; what they do not say is as it was in a run
    that is resumed or goes on, which is told where it is not the default.

    Args:
      config: the run's record, `run_records.read_config`; empty where none goes on.
      run: its directory.

    Raises:
      PfrecError: where the record is damaged, or flags of silos do not fit together.
    """
    from tff_process.silos import addresses, tunnel

    f = flags.FLAGS
    before = options_lib.Options.of_run(config, run)
    own = [one for one in settings_lib.of(options_lib.Options) if one.flag in f]
    given = {one.name: f[one.flag].value for one in own if idle_flags.is_given(one.names)}
    chosen = dataclasses.replace(before, **given)
    kept = [
        f"--{one.flag}={one.text(getattr(before, one.name))}"
        for one in own
        if one.name not in given and getattr(before, one.name) != one.default
    ]
    if kept:
        told = f"executed as {run} was, by {', '.join(kept)}; give a flag to change it"
        print(f"note: {told}", file=sys.stderr, flush=True)
    silos: dict[str, Any] = {}
    if "workers" in f and f.workers:
        if f.data:
            raise errors.PfrecError(
                "--data and --workers: give one of them; silos have their own data"
            )
        if chosen.runtime != options_lib.RESIDENT:
            raise errors.PfrecError(
                f"--runtime={chosen.runtime}: moves private states through the driver; silos "
                "need resident"
            )
        silos = {
            "workers": addresses.parse_workers(f.workers),
            "tls": pathlib.Path(f.tls) if f.tls else None,
        }
        tunnel.to_silos(silos["workers"], silos["tls"], command.warn)
        if f.skip_scenarios or f.min_rows:
            raise errors.PfrecError(
                "--skip_scenarios and --min_rows: are of --data; leave silos out of --workers"
            )
    elif "workers" in f and not f.data:
        raise errors.PfrecError(
            "give --data, a directory that pfrec-convert wrote or 'synthetic', or --workers; "
            "--help lists the flags"
        )
    return dataclasses.replace(chosen, **silos)


def chosen(dataset: "dataset_lib.Dataset") -> "dataset_lib.Dataset":
    """The scenarios of a dataset that the flags ask to train on; what a user should know of them is
    told.

    Raises:
      PfrecError: where none is left.
    """
    from pfrec.data.dataset import trainable

    f = flags.FLAGS
    classes = not ("workers" in f and f.workers)  # Each silo knows its own.
    kept = trainable.chosen(dataset, f.skip_scenarios, f.min_rows)
    left_out = [name for name in dataset.scenarios if name not in kept.scenarios]
    if left_out:
        print(f"left out: {', '.join(left_out)}", flush=True)
    trainable.require(kept, classes=classes)
    for note in trainable.notes(kept, classes=classes):
        command.warn(note)
    return kept


def synthetic() -> "dict[str, Any]":
    """The arguments of `synthetic.generate` that the flags ask for, but for the seed."""
    f = flags.FLAGS
    return {
        "scenarios": f.synthetic_scenarios,
        "rows": f.synthetic_rows,
        "shared": f.synthetic_shared,
        **({"week": f.synthetic_week, "drift": f.synthetic_drift} if f.synthetic_week else {}),
    }


def plan(
    algorithm: str,
    seed: int,
    sharing: "tuple[tuple[str, str], ...]" = (),
    settings: "Sequence[tuple[str, str]]" = (),
) -> "plan_lib.Plan":
    """The plan that the flags describe.

    Args:
      algorithm: by name.
      seed: of the run.
      sharing: rules that go over the algorithm's policy and `--sharing`.
      settings: names and texts of flags that go over those given.

    Raises:
      PfrecError: where a value does not fit.
    """
    f, default = flags.FLAGS, registry.default_settings(algorithm)
    made = plan_lib.Plan(
        algorithm=algorithm,
        seed=seed,
        model=ModelConfig(**_values(ModelConfig)),
        settings=type(default)(**_values(type(default))) if default is not None else None,
        withhold=tuple(sorted(set(f.withhold))),
        sharing=(*(sharing_lib.parse(text, "sharing") for text in f.sharing), *sharing),
        **_values(plan_lib.Plan),
    )
    own = [(name, text) for name, text in settings if name != "preset"]
    made = made.with_texts([*_preset(made, dict(settings)), *own])
    idle_flags.require_used(made, dict(own))
    return made


def continued_plan(config: "Mapping[str, Any]", run: pathlib.Path) -> "plan_lib.Plan":
    """The plan by which a run goes on on other data: its own, but for what flags say.

    Args:
      config: the run's record, `run_records.read_config`.
      run: its directory.

    Raises:
      PfrecError: where its algorithm or what it shares is to be another.
    """
    f = flags.FLAGS
    made = plan_lib.Plan.from_json(config["plan"])
    if not f["algorithm"].using_default_value and f.algorithm != made.name:
        raise errors.PfrecError(
            f"--algorithm={f.algorithm}: {run} is of {made.name}, and goes on as such; leave the "
            "flag out"
        )
    if f.sharing:
        raise errors.PfrecError(f"--sharing: {run} goes on with what it shares; leave the flag out")
    return dataclasses.replace(_as_given(made), init_from=str(run.resolve()), continues=True)


def resumed_plan(config: "Mapping[str, Any]") -> "plan_lib.Plan":
    """The plan by which a run is resumed: its own, but for what flags say, which is refused later
    where the run was begun without. So it needs neither the run that it goes on from, nor that the
    defaults of the pfrec that began it are those of this one.

    Args:
      config: the run's record, `run_records.read_config`.

    Raises:
      PfrecError: where the record is damaged, or a value does not fit.
    """
    f = flags.FLAGS
    made = plan_lib.Plan.from_json(config["plan"])
    joined = joins(made.to_json())
    if not joined and not f["algorithm"].using_default_value and f.algorithm != made.name:
        return plan(f.algorithm, f.seed)
    shape, made = made.model, _as_given(made)
    if joined:  # A newcomer's algorithm and shape are never those of flags.
        made = dataclasses.replace(made, model=shape)
    if f.sharing:
        made = dataclasses.replace(
            made, sharing=tuple(sharing_lib.parse(text, "sharing") for text in f.sharing)
        )
    if f.init_from is not None:
        place = str(pathlib.Path(f.init_from).resolve())
        made = dataclasses.replace(made, init_from=place, continues=not joined)
    return made


def joining_plan(config: "Mapping[str, Any]", run: pathlib.Path) -> "plan_lib.Plan":
    """The plan by which a scenario joins a finished run: what flags say, but for its algorithm, and
    its shape, which is that run's.

    Args:
      config: the record of the finished run, `run_records.read_config`.
      run: its directory.

    Raises:
      PfrecError: where a flag says another algorithm or shape.
    """
    f = flags.FLAGS
    if idle_flags.is_given(["algorithm"]) and f.algorithm != plan_lib.NEWCOMERS:
        raise errors.PfrecError(
            f"--algorithm={f.algorithm}: a scenario that joins a run trains by "
            f"{plan_lib.NEWCOMERS}; leave the flag out"
        )
    made, shape = plan(plan_lib.NEWCOMERS, f.seed), ModelConfig.from_json(config["model"])
    for one in settings_lib.of(ModelConfig):
        asked, has = (one.text(getattr(model, one.name)) for model in (made.model, shape))
        if idle_flags.is_given(one.names) and asked != has:
            raise errors.PfrecError(
                f"--{one.flag}={asked}: a scenario that joins {run} has its shape, in which it is "
                f"{has}; leave the flag out"
            )
    return made.of_newcomer(str(run.resolve()), shape)


def joins(record: "Mapping[str, Any]") -> bool:
    """Whether the record of a plan is that of a scenario that joins a finished run."""
    return bool(record.get("init_from")) and not record.get("continues")


def _as_given(made: plan_lib.Plan) -> plan_lib.Plan:
    """A plan but for what flags say of its settings, seed and what is withheld."""
    f = flags.FLAGS
    texts = _preset(made, {})
    for one in _settings(made):
        if idle_flags.is_given(one.names):
            value = f[one.flag].value
            texts.append((one.flag, ",".join(value) if one.many else str(value)))
    made = made.with_texts(texts)
    idle_flags.require_used(made, {})
    return dataclasses.replace(
        made,
        seed=made.seed if f["seed"].using_default_value else f.seed,
        withhold=tuple(sorted(set(f.withhold))) or made.withhold,
    )


def preset_note(made: plan_lib.Plan) -> str:
    """What to say where a part of --preset is of no concern to a plan; empty where all of it is."""
    given, known = presets.PRESETS[flags.FLAGS.preset], plan_lib.setting_names(made)
    idle = [name for name in given if name not in known]
    if not idle:
        return ""
    used = ", ".join(name for name in given if name in known)
    return (
        f"--preset={flags.FLAGS.preset}: gives {made.name} {used} alone; it has no "
        f"{', '.join(idle)}"
    )


def _settings(made: plan_lib.Plan) -> "list[settings_lib.Setting]":
    """All settings of a plan, of its model and of its algorithm."""
    classes = [plan_lib.Plan, ModelConfig, *([type(made.settings)] if made.settings else [])]
    return [one for settings in classes for one in settings_lib.of(settings)]


def _values(settings: "type[settings_lib.Settings]") -> "dict[str, Any]":
    """The values that flags have, by the names of the settings."""
    found = {}
    for one in settings_lib.of(settings):
        value = flags.FLAGS[one.flag].value
        found[one.name] = one.parse(",".join(value)) if one.many else value
    return found


def _preset(made: plan_lib.Plan, own: "dict[str, str]") -> "list[tuple[str, str]]":
    """The settings of the preset that go under what is given: those that are the plan's and that
    neither a flag nor the entry's own settings say.
    """
    name = own.get("preset", flags.FLAGS.preset)
    if name not in presets.PRESETS:
        raise errors.PfrecError(f"preset={name}: is not one of {', '.join(presets.PRESETS)}")
    names = {name: one.names for one in _settings(made) for name in one.names}
    return [
        (flag, text)
        for flag, text in presets.PRESETS[name].items()
        if flag in names and not names[flag] & set(own) and not idle_flags.is_given(names[flag])
    ]
