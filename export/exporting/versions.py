"""Writes a version of every scenario's model: all of them, or none."""

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional, Protocol

from export.exporting import build, hidden_ids, trained
from export.publishing import deployment, models_config, publish, together
from export.version import manifest
from pfrec import errors

ROUTER = "router"
_PARITY_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be written.

    Attributes:
      options: how to make the versions.
      model_prefix: put before a scenario's name to make its model's name.
      version: their number; None for one more than the highest of any of the models.
      base_path: of the serving directory as the server sees it.
      router: whether to write a model for all scenarios too.
    """

    options: build.Options
    model_prefix: str
    version: Optional[int]
    base_path: str
    router: bool

    def names(self, scenarios: "Sequence[str]") -> "dict[str, str]":
        """The names of the models, by scenario and in order; the router's last.

        Raises:
          PfrecError: where a scenario has the router's name.
        """
        if self.router and ROUTER in scenarios:
            raise errors.PfrecError(
                f"--router: a scenario has the name {ROUTER!r}; leave the flag out"
            )
        keys = (*scenarios, *([ROUTER] if self.router else []))
        return {key: f"{self.model_prefix}{key}" for key in keys}


class Judge(Protocol):
    """Sees each new model before it is written, and has the last word before they appear."""

    def consider(self, scenario: str, model: trained.TrainedModel) -> None:
        """Looks at the new model of a scenario."""

    def decide(self) -> None:
        """Raises PfrecError where the new models are not to appear."""


def write(
    source: trained.Source, serving: pathlib.Path, asked: Request, judge: Judge
) -> "dict[str, Any]":
    """Writes a version of every model, all with one number, into a directory that this process has
    locked; each model is loaded once.

    Args:
      source: of the trained models.
      serving: the serving directory.
      asked: what to write.
      judge: may refuse.

    Returns:
      What was written, as plain data.

    Raises:
      PfrecError: where a model cannot be read or written, a check fails or the judge refuses;
        nothing appears then.
    """
    names = asked.names(source.scenarios)
    number = (
        publish.next_version(*(serving / name for name in names.values()))
        if asked.version is None
        else asked.version
    )
    entries: list[dict[str, Any]] = []
    models: list[trained.TrainedModel] = []
    with publish.Publication(serving) as publication:
        staged = {key: publication.stage(name, number) for key, name in names.items()}
        for key in _progress(list(names)):
            model: trained.Exportable
            kept: dict[str, int] = {}
            if key in source.scenarios:
                model, kept = hidden_ids.hide(
                    source.trained(key, _PARITY_ROWS), asked.options.least_rows
                )
                judge.consider(key, model)
                models += [model] if asked.router else []
            else:
                model = trained.RoutedModels(tuple(models))
            built = _build(
                model, names[key], staged[key], serving / names[key] / str(number), asked
            )
            entry = _entry(built, staged[key], key, names[key], number)
            entries.append(
                {
                    **entry,
                    "run": dict(model.run),
                    "random_rows": model.stand_in,
                    "ids_with_rows": kept,
                }
            )
        judge.decide()
        with together.together(serving, list(names.values()), number):
            publication.publish()
    deployment.write(serving, asked.base_path, next(iter(names.values())))
    absent = models_config.write(serving, asked.base_path)
    held = models_config.pinned(serving)
    return {
        "format_version": 1,
        "held_back": {
            name: versions
            for name, versions in held.items()
            if name in names.values() and number not in versions
        },
        "models": entries,
        "not_here": absent.left,
        "taken_out": absent.taken_out,
        "version": number,
    }


def beside(
    source: trained.Source, serving: pathlib.Path, asked: Request, served: "Mapping[str, int]"
) -> "dict[str, int]":
    """The versions of models that stay served although a run has none of them any more, as of
    scenarios that are gone from it. A silo has its own model alone.

    Models of other prefixes are none of a run's, nor are those of others than `pfrec-export`: a
    version's manifest names the scenario, which with the prefix makes the model's name.

    Args:
      source: of the models that were written.
      serving: the serving directory.
      asked: what was to be written.
      served: the version that each model was served with before.
    """
    if isinstance(source, trained.ClientDirectory):
        return {}
    own = asked.names(source.scenarios).values()
    return {
        name: number
        for name, number in sorted(served.items())
        if name not in own and name == _name(serving / name / str(number), asked.model_prefix)
    }


def _name(version: pathlib.Path, prefix: str) -> Optional[str]:
    """The name that an export with a prefix gives the model of a version; None without a manifest
    that can be read.
    """
    try:
        scenario = manifest.read(version)["scenario"]
    except errors.PfrecError:
        return None
    return f"{prefix}{ROUTER if scenario is None else scenario}"


def _build(
    model: trained.Exportable,
    name: str,
    directory: pathlib.Path,
    target: pathlib.Path,
    asked: Request,
) -> build.Built:
    try:
        return build.build(model, name, directory, asked.options)
    except errors.PfrecError as error:
        # The temporary directory is gone when the message is read.
        raise errors.PfrecError(str(error).replace(str(directory), str(target))) from error


def _entry(
    built: build.Built, directory: pathlib.Path, key: str, name: str, number: int
) -> "dict[str, Any]":
    sizes = {file: (directory / file).stat().st_size for file in manifest.file_names(directory)}
    return {
        "bytes": sum(sizes.values()),
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in built.report.checks],
        "files": sizes,
        "latency_ms": built.latency_ms,
        "made": built.made,
        "model": name,
        **({"onnx_latency_ms": built.onnx_latency_ms} if built.onnx_latency_ms else {}),
        "parity": next(c.detail for c in built.report.checks if c.name == "parity"),
        "path": f"{name}/{number}",
        "scenario": key,
        "version": number,
    }


def _progress(work: "list[str]") -> "Iterator[str]":
    """The models one by one: a bar on a terminal, a line each where standard error is piped."""
    import tqdm

    bar: Iterable[str] = tqdm.tqdm(
        work, desc="exporting", unit="model", disable=not sys.stderr.isatty()
    )
    for name in bar:
        if not sys.stderr.isatty():
            print(f"exporting: {name}", file=sys.stderr, flush=True)
        yield name
