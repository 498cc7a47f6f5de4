"""pfrec-verify: checks exported models, and a running server against them.

pfrec-verify --serving=serving
pfrec-verify --model=serving/NL/3
pfrec-verify --model=serving/NL/3 --endpoint=localhost:8500 --rest_endpoint=localhost:8501
"""

import pathlib
import sys
from typing import Optional

from absl import flags

from pfrec import amounts, command, errors


def define_flags() -> None:
    """Declares the command's flags.

    In a function, so that commands with flags of the same name can be imported together.
    """
    flags.DEFINE_string(
        "model", None, "A version's directory, or a model's directory to check all its versions."
    )
    flags.DEFINE_string(
        "serving", None, "A serving directory, to check every version of every model in it."
    )
    flags.DEFINE_string(
        "endpoint",
        None,
        "HOST:PORT of a model server's gRPC port, to compare its answers with those of the "
        "versions checked.",
    )
    flags.DEFINE_string(
        "rest_endpoint",
        None,
        "HOST:PORT of a model server's REST port, to be checked in the same way.",
    )
    flags.DEFINE_float(
        "timeout", 10.0, "Deadline of a request to an endpoint, in seconds.", lower_bound=0.001
    )


def version_directories(
    model: Optional[pathlib.Path], serving: Optional[pathlib.Path]
) -> "list[pathlib.Path]":
    """The version directories that --model or --serving names.

    Raises:
      PfrecError: where there is none.
    """
    from export.publishing import publish, together

    if model is not None:
        if not model.is_dir():
            raise errors.PfrecError(f"{model}: no such directory; check --model")
        found = publish.versions(model)
        # A damaged version may lack any of its files, so a directory without versions below it is
        # taken for one.
        return (
            [model / str(version) for version in found]
            if found and not model.name.isdecimal()
            else [model]
        )
    assert serving is not None
    if not serving.is_dir():
        raise errors.PfrecError(f"{serving}: no such directory; check --serving")
    unfinished = together.interrupted(serving)
    if unfinished:
        raise errors.PfrecError(unfinished)
    names = publish.models(serving)
    if not names:
        raise errors.PfrecError(
            f"{serving}: holds no version of any model; name what pfrec-export wrote as --output"
        )
    return [
        serving / name / str(version)
        for name in names
        for version in publish.versions(serving / name)
    ]


def _tell_of_others(serving: pathlib.Path) -> None:
    """Says which models of models.config are served from elsewhere, as those of other teams: of
    them nothing is checked.

    Raises:
      PfrecError: where one that is served from here has no version.
    """
    from export.publishing import models_config

    others = models_config.elsewhere(serving)
    if others:
        told = ", ".join(f"{name} ({path})" for name, path in sorted(others.items()))
        print(f"note: served from elsewhere, so not looked at: {told}", file=sys.stderr, flush=True)


def _main(argv: "list[str]") -> None:
    del argv
    values = flags.FLAGS
    if (values.model is None) == (values.serving is None):
        also = (
            ", whose requests are sent to the endpoint"
            if values.endpoint or values.rest_endpoint
            else ""
        )
        raise errors.PfrecError(f"give one of --model and --serving{also}; --help lists the flags")
    if not (values.endpoint or values.rest_endpoint):
        command.refuse_idle(["timeout"], "is of --endpoint or --rest_endpoint")
    for flag, example in (("endpoint", 8500), ("rest_endpoint", 8501)):
        given = values[flag].value
        if given is not None and not given.rpartition(":")[2].isdecimal():
            raise errors.PfrecError(
                f"--{flag}={given}: not HOST:PORT; give for example localhost:{example}"
            )
    directories = version_directories(
        None if values.model is None else pathlib.Path(values.model),
        None if values.serving is None else pathlib.Path(values.serving),
    )
    if values.serving is not None:
        _tell_of_others(pathlib.Path(values.serving))
    from export.checks import version as version_checks

    failed = checked = 0
    for directory in directories:
        report = version_checks.verify(directory)
        checks = list(report.checks)
        if report.ok and (values.endpoint or values.rest_endpoint):
            from export.commands import running_server

            checks += running_server.check(
                directory, grpc=values.endpoint, rest=values.rest_endpoint, timeout=values.timeout
            )
        print(directory)
        for check in checks:
            print(
                f"  {'ok  ' if check.ok else 'FAIL'}  {check.name:<16}  {check.detail}", flush=True
            )
        checked += len(checks)
        failed += sum(not check.ok for check in checks)
    print(f"{amounts.amount(len(directories), 'version')}, {checked} checks, {failed} failed")
    if failed:
        sys.exit(1)


def main() -> None:
    """Entry point of `pfrec-verify`."""
    define_flags()
    command.run(_main)


if __name__ == "__main__":
    main()
