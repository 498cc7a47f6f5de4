"""pfrec-agreement: makes of a plan what a silo's owner reads and signs off.

pfrec-agreement --client_dir=/srv/pfrec/nl --algorithm=pf_msmtrec --output=agreement.json
"""

import dataclasses
import pathlib
import shlex
import sys

from absl import flags

from pfrec import command, errors
from tff_process.commands import flags as training_flags
from tff_process.commands import from_flags, idle_flags


def main() -> None:
    """Entry point of `pfrec-agreement`."""
    flags.DEFINE_string(
        "client_dir", None, "The silo's directory, with its converted data in data/.", required=True
    )
    flags.DEFINE_string("output", None, "The file to write.", required=True)
    flags.DEFINE_string("algorithm", "pf_msmtrec", "What is trained with.")
    flags.DEFINE_integer("seed", 0, "The training's --seed.", lower_bound=0)
    flags.DEFINE_integer(
        "trainings", 1, "How many trainings of this plan may begin.", lower_bound=1
    )
    flags.DEFINE_integer(
        "minimum_rows",
        0,
        "Rows behind each report, at least; 0 for as many as the plan makes it at this silo.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "aggregation_steps",
        0,
        "Aggregation steps of a round (aggregations_per_round in the driver's "
        "privacy_manifest.json); 0 for as many as there are where all silos have as many rows.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "continues",
        False,
        "The training goes on from the last finished one (--init_from of pfrec-train): give the "
        "flags of that one again, but for those that the driver changes.",
    )
    flags.DEFINE_string(
        "sums_keys",
        "",
        "With --secure_sums the keys of all silos whose updates are summed, as NAME=KEY,NAME=KEY. "
        "Each silo's owner learns its own from this command without --sums_keys, and tells it the "
        "others by a way that they trust: never by way of the driver.",
    )
    training_flags.define_plan()
    training_flags.define_own(sys.argv[1:], simulates=False)
    command.run(
        _main,
        common=[
            "client_dir",
            "algorithm",
            "seed",
            "trainings",
            "minimum_rows",
            "aggregation_steps",
            "continues",
            "sums_keys",
            "output",
        ],
    )


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    output = pathlib.Path(f.output)
    if output.exists():
        raise errors.PfrecError(
            f"{output}: exists; an agreement is not overwritten, remove it or choose "
            "another --output"
        )
    import pfrec
    from pfrec import files
    from tff_process.algorithms import registry
    from tff_process.process import asked_plan
    from tff_process.silos import directory, own_computations

    registry.check(f.algorithm)
    if registry.is_pooled(f.algorithm):
        raise errors.PfrecError(
            f"--algorithm={f.algorithm}: needs all rows in one place; over silos train a "
            "federated one"
        )
    client = pathlib.Path(f.client_dir).resolve()
    facts = directory.facts(client)
    idle_flags.require_concerned([f.algorithm])
    plan = dataclasses.replace(from_flags.plan(f.algorithm, f.seed), continues=f.continues)
    idle_flags.require_used_by_one([plan])
    if not plan.batch_size:
        raise errors.PfrecError(
            "--batch_size=0: fits the rows of all scenarios together, which one silo cannot know; "
            "give the rows of a batch, to pfrec-agreement in every silo and to pfrec-train alike"
        )
    asked_plan.check(plan, facts.schema)
    own = own_computations.OwnComputations(plan.to_json(), facts, "--sharing")
    agreed = own.agreement(
        own.bounds(f.trainings, f.minimum_rows, f.aggregation_steps),
        pfrec.__version__,
        _keys(f.sums_keys),
    )
    own.terms(agreed, (client / directory.SECRET).read_bytes())
    files.write_json(output, agreed.to_json())
    print(agreed.describe())
    print(
        f"\nwrote {output}: read it, and sign it off by starting pfrec-worker with "
        f"{shlex.quote(f'--agreement={output}')}"
    )


def _keys(text: str) -> "dict[str, str]":
    """The keys of --sums_keys, by scenario.

    Raises:
      PfrecError: where it is not written as NAME=KEY, or names a silo twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, text.replace(",", " ").split()):
        name, equals, key = part.rpartition("=")
        if not equals or not name or name in found:
            raise errors.PfrecError(
                f"--sums_keys: {part[:80]!r} is not NAME=KEY of one more silo; write the keys of "
                "all silos as NAME=KEY,NAME=KEY"
            )
        found[name] = key.lower()
    return found


if __name__ == "__main__":
    main()
