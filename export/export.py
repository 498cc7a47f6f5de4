"""pfrec-export: writes each scenario's trained model for TensorFlow Serving.

pfrec-export --run=run --output=serving
"""

import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Optional

from absl import flags, logging

from pfrec import command, errors, files

if TYPE_CHECKING:
    from export import trained, verification

REPORT_FILE = "export_report.json"
_WARMUP_ROWS = 8
_PARITY_ROWS = 256


def define_flags() -> None:
    """Declares the command's flags. In a function, so that commands with flags of the same name can be imported together."""
    flags.DEFINE_string("run", None, "The run directory that pfrec-train wrote.", required=True)
    flags.DEFINE_string("output", None, "The serving directory: one directory per model below it.", required=True)
    flags.DEFINE_string("model_prefix", "", "Put before a scenario's name to make its model's name.")
    flags.DEFINE_integer(
        "version", None, "Number of the new version; one more than a model's highest where not given.", lower_bound=1
    )
    flags.DEFINE_string(
        "base_path", None, "Path of the serving directory as the server sees it, for models.config; as seen here where not given."
    )


def build(model: "trained.TrainedModel", name: str, directory: pathlib.Path) -> "verification.Report":
    """Writes a version of a model into a directory and holds it against the trained model.

    The warm-up request ships with the version: it holds the features, not the labels, of a few rows of the scenario's own data.

    Args:
      model: the trained model.
      name: of the served model.
      directory: to write to.

    Returns:
      What was checked, all of it passed.

    Raises:
      PfrecError: where it cannot be written, or a check fails.
    """
    from export import manifest, serving_module, serving_request, verification, warmup

    variables = serving_module.save(serving_module.ServingModule(model.network, model.schema), directory)
    real = serving_request.from_rows(model.rows, model.schema)
    warmup.write(directory, name, {feature: values[:_WARMUP_ROWS] for feature, values in real.items()})
    manifest.write(directory, model=name, scenario=model.scenario, schema=model.schema, variables=variables, run=model.run)
    requests = (
        real,
        serving_request.random(model.schema, _PARITY_ROWS, seed=1),
        serving_request.hostile(model.schema),
    )
    report = verification.verify(directory, [verification.Case(request, model.predict(request)) for request in requests])
    report.require()
    return report


def export(
    run: pathlib.Path,
    output: pathlib.Path,
    *,
    model_prefix: str = "",
    version: Optional[int] = None,
    base_path: Optional[str] = None,
) -> "dict[str, Any]":
    """Exports every scenario of a run; publishes none before all are verified.

    Args:
      run: the run directory.
      output: the serving directory.
      model_prefix: put before a scenario's name to make its model's name.
      version: number of the new version; None for one more than a model's highest.
      base_path: of `output` as the server sees it; None for its absolute path here.

    Returns:
      What was written, the content of export_report.json.

    Raises:
      PfrecError: where the run cannot be read, a check fails or something cannot be written; no version is left half-written.
    """
    from export import manifest, publish, trained

    finished = trained.Run(run)
    if output.exists() and not output.is_dir():
        raise errors.PfrecError(f"{output}: is not a directory; choose another --output")
    publish.read_config(output)  # A damaged one is an error before the work, not after it.
    entries: list[dict[str, Any]] = []
    with publish.Publication(output) as publication:
        staged = [publication.stage(f"{model_prefix}{scenario}", version) for scenario in finished.scenarios]
        for scenario, directory in _progress(list(zip(finished.scenarios, staged))):
            target = publication.target(directory)
            model = finished.trained(scenario, _PARITY_ROWS)
            try:
                report = build(model, target.parent.name, directory)
            except errors.PfrecError as error:
                # The temporary directory is gone when the message is read.
                raise errors.PfrecError(str(error).replace(str(directory), str(target))) from error
            entries.append(
                {
                    "bytes": sum((directory / name).stat().st_size for name in manifest.file_names(directory)),
                    "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in report.checks],
                    "model": target.parent.name,
                    "path": str(target.relative_to(output)),
                    "run": dict(model.run),
                    "scenario": scenario,
                    "version": int(target.name),
                }
            )
        publication.publish()
    publish.write_config(output, base_path or str(output.resolve()))
    result = {"format_version": 1, "models": entries}
    files.write_json(output / REPORT_FILE, result)
    return result


def table(result: "dict[str, Any]") -> str:
    """The exported models as aligned text."""
    lines = [["model", "version", "round", "MB", "checks", "parity"]]
    for entry in result["models"]:
        parity = next(c["detail"] for c in entry["checks"] if c["name"] == "parity")
        passed = f"{sum(c['ok'] for c in entry['checks'])} of {len(entry['checks'])}"
        size = f"{entry['bytes'] / 1e6:.2f}"
        lines.append([entry["model"], str(entry["version"]), str(entry["run"]["round"]), size, passed, parity])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _progress(work: "list[tuple[str, pathlib.Path]]") -> "Iterator[tuple[str, pathlib.Path]]":
    """The scenarios one by one: a bar on a terminal, a line each where standard error is piped."""
    import tqdm

    bar: Iterable[tuple[str, pathlib.Path]] = tqdm.tqdm(work, desc="exporting", unit="model", disable=not sys.stderr.isatty())
    for scenario, directory in bar:
        if not sys.stderr.isatty():
            print(f"exporting: {scenario}", file=sys.stderr, flush=True)
        yield scenario, directory


def _main(argv: "list[str]") -> None:
    del argv
    values = flags.FLAGS
    run, output = pathlib.Path(values.run), pathlib.Path(values.output)
    if not run.is_dir():
        raise errors.PfrecError(f"{run}: no such directory; check --run")
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of input names that are no Python names, such as 101.
    result = export(run, output, model_prefix=values.model_prefix, version=values.version, base_path=values.base_path)
    print(table(result))
    for entry in result["models"]:
        print(f"wrote {output / entry['path']}")
    print(f"wrote {output / 'models.config'}")
    print(f"wrote {output / REPORT_FILE}")


def main() -> None:
    """Entry point of `pfrec-export`."""
    define_flags()
    command.run(_main)


if __name__ == "__main__":
    main()
