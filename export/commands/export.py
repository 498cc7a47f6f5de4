"""pfrec-export: writes each scenario's trained model for TensorFlow Serving.

pfrec-export --run=run --output=serving
pfrec-export --client_dir=/srv/silo --output=serving
pfrec-export --output=serving --rollback
pfrec-export --output=serving --rollback --scenario=nl
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from absl import flags, logging

from pfrec import command, errors, files, text_table

if TYPE_CHECKING:
    from export.exporting import build, trained

REPORT_FILE = "export_report.json"
_LARGEST_VERSION = 2**63 - 1  # TensorFlow Serving's protocol has 64 bits for it.
_COMMON = (
    *("run", "client_dir", "output", "router", "keep", "champion_data", "force"),
    *("rollback", "roll_forward", "scenario"),
)


# What says nothing about which of the versions that are there is served.
_OF_EXPORTS = (
    *("data", "base_path", "fold", "embedding_dtype", "least_rows", "onnx", "router", "keep"),
    *("champion_data", "force", "canary"),
)


def define_flags() -> None:
    """Declares the command's flags.

    In a function, so that commands with flags of the same name can be imported together.
    """
    flags.DEFINE_string("run", None, "The run directory that pfrec-train wrote.")
    flags.DEFINE_string(
        "data", None, "With --run: where its data are now; it finds them where they were by itself."
    )
    flags.DEFINE_string(
        "client_dir",
        None,
        "In place of --run: one silo's own directory, which is all that is read.",
    )
    flags.DEFINE_string(
        "output", None, "The serving directory: one directory per model below it.", required=True
    )
    flags.DEFINE_string(
        "model_prefix", "", "Put before a scenario's name to make its model's name."
    )
    flags.DEFINE_integer(
        "version",
        None,
        "Number of the new version of every model, one more than the highest of any where not "
        "given; with --rollback the version to go to.",
        lower_bound=1,
        upper_bound=_LARGEST_VERSION,
    )
    flags.DEFINE_string(
        "base_path",
        None,
        "Path of the serving directory as the server sees it, for models.config; as seen here "
        "where not given.",
    )
    flags.DEFINE_bool(
        "fold",
        True,
        "Fold normalisations, small embeddings, experts' first layers and gates for inference.",
    )
    flags.DEFINE_enum(
        "embedding_dtype",
        "float32",
        ["float32", "float16"],
        "Of embedding tables that are too large to be folded; float16 halves them.",
    )
    flags.DEFINE_integer(
        "least_rows",
        8,
        "An id of a private feature that fewer training rows hold is exported as the unknown id, "
        "so that the model does not tell that it was there; 0 exports every id as it was trained.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "onnx",
        False,
        "Also write each scenario's model as ONNX, into assets.extra/model.onnx of its version; "
        "needs pip install 'pfrec[onnx]'.",
    )
    flags.DEFINE_bool(
        "router",
        False,
        "Also export one model for all scenarios, which takes the scenario as an input.",
    )
    flags.DEFINE_integer(
        "keep",
        None,
        "Remove all but this many of each exported model's highest versions.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "champion_data",
        None,
        "A directory that pfrec-convert wrote, on whose test rows the new models are compared with "
        "those that are served; the run's own test rows where not given.",
    )
    flags.DEFINE_bool(
        "force", False, "Export even where what is served ranks better by more than chance."
    )
    flags.DEFINE_bool(
        "canary",
        False,
        "Serve the new versions beside those served until now, under the labels canary and stable; "
        "--roll_forward ends that with the new ones, --rollback with the old.",
    )
    flags.DEFINE_list(
        "scenario",
        [],
        "With --rollback and --roll_forward: these scenarios alone; all where not given.",
    )
    flags.DEFINE_bool(
        "rollback",
        False,
        "Export nothing: let the server go back to the version before, or to --version.",
    )
    flags.DEFINE_bool(
        "roll_forward",
        False,
        "Export nothing: end a rollback, so that the highest versions are served.",
    )


def export(
    source: "Union[trained.Source, str, os.PathLike[str]]",
    output: "Union[str, os.PathLike[str]]",
    *,
    model_prefix: str = "",
    version: Optional[int] = None,
    base_path: Optional[str] = None,
    options: "Optional[build.Options]" = None,
    router: bool = False,
    keep: Optional[int] = None,
    champion_data: "Optional[Union[str, os.PathLike[str]]]" = None,
    force: bool = False,
    canary: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> "dict[str, Any]":
    """Exports every scenario of a source, all with one version number;
    publishes none before all are verified, and none where what is served ranks better.

        >>> import pfrec
        >>> report = pfrec.export("run", "serving")
        >>> [entry["path"] for entry in report["models"]]
        ['fr/1', 'nl/1']
        >>> all(check["ok"] for entry in report["models"] for check in entry["checks"])
        True

    Args:
      source: the finished run or its path, or a silo's client directory.
      output: the serving directory.
      model_prefix: put before a scenario's name to make its model's name.
      version: number of the new version; None for one more than the highest of any of the models.
      base_path: of `output` as the server sees it; None for its absolute path here.
      options: how to make the versions.
      router: whether to export a model for all scenarios too.
      keep: how many of each model's highest versions to keep; None for all.
      champion_data: whose test rows the new models are compared with the served ones on; None for
        the source's own.
      force: whether to export models that rank worse than what is served.
      canary: whether to serve the new versions beside those served until now, by label.
      say: is told the table of the comparison.

    Returns:
      What was written, the content of export_report.json.

    Raises:
      PfrecError: where the source cannot be read, a check fails, a model ranks worse than the
        served one, or something cannot be written; no version is left half-written.
    """
    from export.exporting import build, trained, versions
    from export.graph import onnx_graph
    from export.publishing import models_config, publish, together
    from export.scoring import champion

    serving = pathlib.Path(output)
    models_of: trained.Source
    if isinstance(source, (str, os.PathLike)):
        models_of = trained.Run(pathlib.Path(source))
    else:
        models_of = source
    if serving.exists() and not serving.is_dir():
        raise errors.PfrecError(f"{serving}: is not a directory; choose another --output")
    asked = versions.Request(
        options or build.Options(),
        model_prefix,
        version,
        base_path or str(serving.resolve()),
        router,
    )
    names = asked.names(models_of.scenarios)
    if asked.options.onnx:  # What is missing is an error before the work.
        onnx_graph.package("onnx")
        onnx_graph.package("onnxruntime")
    models_config.read(serving)  # A damaged one is an error before the work, not after it.
    with files.Lock(serving, public=True):
        together.recover(serving)
        before = models_config.served(serving)
        rows = models_of.test_rows if champion_data is None else champion.rows_of(champion_data)
        champions = champion.Champions(serving, names, rows, force, say)
        result = versions.write(models_of, serving, asked, champions)
        result["champion"] = champions.comparison().to_json()
        stable = {e["model"]: before[e["model"]] for e in result["models"] if e["model"] in before}
        if canary and stable:
            models_config.add_canary(serving, stable, result["version"])
        result["canary"] = stable if canary else {}
        result["beside"] = versions.beside(models_of, serving, asked, before)
        held = models_config.pinned(serving)
        if keep is not None:
            for entry in result["models"]:
                entry["removed_versions"] = publish.retire(
                    serving / entry["model"], keep, held.get(entry["model"], ())
                )
        files.write_json(serving / REPORT_FILE, result, public=True)
        return result


def table(result: "dict[str, Any]") -> str:
    """The exported models as aligned text."""
    lines = [["model", "version", "round", "MB", "ms at 1, 32, 512 rows", "checks", "parity"]]
    for entry in result["models"]:
        passed = f"{sum(c['ok'] for c in entry['checks'])} of {len(entry['checks'])}"
        times = ", ".join(f"{value:.3g}" for value in entry["latency_ms"].values())
        size = f"{entry['bytes'] / 1e6:.2f}"
        lines.append(
            [
                entry["model"],
                str(entry["version"]),
                str(entry["run"]["round"]),
                size,
                times,
                passed,
                entry["parity"],
            ],
        )
        if "onnx_latency_ms" in entry:
            times = ", ".join(f"{value:.3g}" for value in entry["onnx_latency_ms"].values())
            lines.append(["  as ONNX", "", "", "", times, "", ""])
    return "\n".join(text_table.aligned(lines, "l" * len(lines[0])))


def notes(result: "dict[str, Any]", output: pathlib.Path) -> "list[str]":
    """What a user should know of an export besides its table, a line each."""
    found = []
    stand_in = [entry["model"] for entry in result["models"] if entry["random_rows"]]
    if stand_in:
        found.append(
            f"note: {', '.join(stand_in)} checked with random rows, and of its ids only those that "
            "were never trained are exported as unknown: the rows that it was trained on are gone; "
            "their place may be named with --data"
        )
    if result["beside"]:
        found.append(
            f"note: still served as before, since this run has no such model: "
            f"{_told(result['beside'])}; to end that remove the directory of that name and its "
            "entry in models.config"
        )
    if result["taken_out"]:
        found.append(
            f"note: taken out of models.config, so served no more, since {output} holds no version "
            f"of it: {_told(result['taken_out'])}"
        )
    if result["not_here"]:
        found.append(
            f"note: left in models.config although {output} holds no version of it: "
            f"{_told(result['not_here'])}; whether there is one is not seen from here, and a "
            "server does not start where it finds none: remove the entry then"
        )
    if result["canary"]:
        found.append(
            f"models.config serves version {result['version']} as canary beside stable "
            f"{_told(result['canary'])}"
        )
    elif result["held_back"]:
        found.append(
            f"note: models.config pins {', '.join(sorted(result['held_back']))} to an older "
            "version; --roll_forward ends that"
        )
    return found


def _told(values: "dict[str, Any]") -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))


def _switch(
    output: pathlib.Path,
    rollback: bool,
    version: Optional[int],
    prefix: str,
    scenarios: "Sequence[str]",
) -> None:
    """Rolls the models of some scenarios, or all where none is named, back or forward, and says to
    what.
    """
    from export.publishing import models_config, publish, together
    from pfrec.data import names as data_names

    if not output.is_dir():
        raise errors.PfrecError(f"{output}: no such directory; name what pfrec-export wrote")
    with files.Lock(output, public=True):
        together.recover(output)
        known = [name[len(prefix) :] for name in publish.models(output) if name.startswith(prefix)]
        names = [prefix + data_names.meant(scenario, known) for scenario in scenarios]
        if rollback:
            found = models_config.roll_back(output, version, names)
        else:
            found = models_config.roll_forward(output, names)
    for name, number in sorted(found.items()):
        print(
            f"{name}: {'pinned to version' if rollback else 'highest version is served,'} {number}"
        )
    print(f"wrote {output / models_config.FILE}")


def _main(argv: "list[str]") -> None:
    del argv
    values = flags.FLAGS
    output = pathlib.Path(values.output)
    chosen = [
        name for name in ("run", "client_dir", "rollback", "roll_forward") if values[name].value
    ]
    if len(chosen) != 1:
        raise errors.PfrecError(
            "give one of --run, --client_dir, --rollback and --roll_forward; --help lists the flags"
        )
    if values.rollback or values.roll_forward:
        command.refuse_idle(_OF_EXPORTS, "is of an export")
        if values.roll_forward:
            command.refuse_idle(["version"], "is of an export or a rollback")
        _switch(output, values.rollback, values.version, values.model_prefix, values.scenario)
        return
    if values.scenario:
        raise errors.PfrecError(
            "--scenario goes with --rollback and --roll_forward; an export is of all scenarios"
        )
    if values.client_dir:
        command.refuse_idle(["data"], "is of --run")
    path = pathlib.Path(values[chosen[0]].value)
    if not path.is_dir():
        raise errors.PfrecError(f"{path}: no such directory; check --{chosen[0]}")
    if values.router and values.client_dir:
        raise errors.PfrecError(
            "--router needs the models of all scenarios, so --run; a silo has its own alone"
        )
    logging.set_verbosity(
        logging.ERROR
    )  # TensorFlow warns of input names that are no Python names, such as 101.
    from export.exporting import build, trained

    result = export(
        (
            trained.Run(path, None if values.data is None else pathlib.Path(values.data))
            if values.run
            else trained.ClientDirectory(path)
        ),
        output,
        model_prefix=values.model_prefix,
        version=values.version,
        base_path=values.base_path,
        options=build.Options(values.fold, values.embedding_dtype, values.least_rows, values.onnx),
        router=values.router,
        keep=values.keep,
        champion_data=values.champion_data,
        force=values.force,
        canary=values.canary,
        say=lambda text: print(text, flush=True),
    )
    print(table(result))
    for entry in result["models"]:
        print(f"wrote {output / entry['path']}")
    print(f"wrote {output / 'models.config'}")
    print(f"wrote {output / REPORT_FILE}")
    for note in notes(result, output):
        print(note)


def main() -> None:
    """Entry point of `pfrec-export`."""
    define_flags()
    command.run(_main, common=_COMMON)


if __name__ == "__main__":
    main()
