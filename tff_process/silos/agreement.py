"""The agreement of a silo: what its owner signs off, as a file that a person can read, and what
`pfrec-worker` holds a driver to.

The plan and the schema stand in it whole, and what leaves is spelled out beside them. The silo
works that out again from the plan, so a file whose list was changed is refused.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pfrec
from pfrec import amounts, errors, files
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from tff_process.privacy import normalisation

FORMAT_VERSION = 1
_REMEDY = "make it with pfrec-agreement"


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How much may be asked of the silo.

    Attributes:
      trainings: that may begin.
      rounds: of each.
      reports: that leave in all; a round that is trained again, because a worker was lost, counts
        again.
      evaluations: that leave in all.
      rows: behind each report, at least.
      steps: batches behind each report, at least.
    """

    trainings: int
    rounds: int
    reports: int
    evaluations: int
    rows: int
    steps: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise errors.PfrecError(
                    f"bounds: {field.name} is {value!r}; it must be a whole number of at least 1"
                )


@dataclasses.dataclass(frozen=True)
class Agreement:
    """What a silo agrees to.

    Attributes:
      scenario: the silo's.
      version: of pfrec, whose code the silo runs.
      plan: of the training, as `plan.Plan.to_json`, but for what is the driver's own business.
      schema: of the silo's rows.
      leaves: what leaves, for its owner to read: `groups`, `report`, `row_counts`, `metrics`,
        `never`.
      bounds: how much may be asked.
      sums_keys: with --secure_sums the public keys of all silos whose updates are summed, by
        scenario, in hexadecimal; this silo's own among them.
    """

    scenario: str
    version: str
    plan: "Mapping[str, Any]"
    schema: schema_lib.Schema
    leaves: "Mapping[str, Any]"
    bounds: Bounds
    sums_keys: "Mapping[str, str]" = dataclasses.field(default_factory=dict)

    def to_json(self) -> "dict[str, Any]":
        """The content of the file."""
        return {
            "format_version": FORMAT_VERSION,
            "scenario": self.scenario,
            "pfrec": self.version,
            "bounds": dataclasses.asdict(self.bounds),
            "leaves": dict(self.leaves),
            "plan": dict(self.plan),
            "schema": self.schema.to_json(),
            **({"sums_keys": dict(self.sums_keys)} if self.sums_keys else {}),
        }

    @property
    def digest(self) -> str:
        """Of the whole agreement: names it in the ledger."""
        return hashlib.sha256(files.json_text(self.to_json()).encode()).hexdigest()

    @property
    def plan_digest(self) -> str:
        """What a driver's plan is compared with."""
        return plan_digest(self.plan, self.schema, self.version)

    @classmethod
    def read(cls, path: pathlib.Path) -> "Agreement":
        """Reads the file.

        Raises:
          PfrecError: where it is missing, damaged, of another format or of another version of
            pfrec.
        """
        value = files.read_json(path, remedy=_REMEDY)
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != FORMAT_VERSION:
            raise errors.PfrecError(
                f"{path}: an agreement of format version {version}, this pfrec reads "
                f"{FORMAT_VERSION}; {_REMEDY}"
            )
        try:
            found = cls(
                scenario=str(value["scenario"]),
                version=str(value["pfrec"]),
                plan=dict(value["plan"]),
                schema=schema_lib.Schema.from_json(value["schema"], place=str(path)),
                leaves=dict(value["leaves"]),
                bounds=Bounds(**value["bounds"]),
                sums_keys={str(k): str(v) for k, v in dict(value.get("sums_keys", {})).items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise errors.PfrecError(f"{path}: not an agreement ({error!r}); {_REMEDY}") from error
        if found.version != pfrec.__version__:
            raise errors.PfrecError(
                f"{path}: agrees to pfrec {found.version}, and this is {pfrec.__version__}; "
                "install that one, or make it anew with pfrec-agreement"
            )
        return found

    def describe(self) -> str:
        """The agreement as text, for its owner."""
        bounds, leaves = self.bounds, self.leaves
        told = [item["what"] for key in ("report", "row_counts", "metrics") for item in leaves[key]]
        width = max(len("what leaves with each report"), *map(len, told))
        lines = [
            f"Agreement of the silo of {self.scenario} to {self.plan['algorithm']}, pfrec "
            f"{self.version}",
            "",
            f"{'what leaves with each report':<{width}} {'shape':<14} {'bytes':>9}",
        ]
        lines += [
            f"{item['what']:<{width}} {_shape(item['shape']):<14} {item['bytes']:>9}"
            for item in leaves["report"]
        ]
        if self.plan.get("dp_epsilon") and any(
            normalisation.constant_of(item["what"]) is not None for item in leaves["report"]
        ):
            lines.append(
                "  of these, statistics of normalisation are constants, 0 and 1, whatever the rows"
            )
        for title, key in (
            ("once a training", "row_counts"),
            ("with each evaluation on valid and on test", "metrics"),
        ):
            if leaves[key]:
                lines.append(f"{title}:")
                lines += [
                    f"{item['what']:<{width}} {_shape(item['shape']):<14} {item['bytes']:>9}"
                    for item in leaves[key]
                ]
        lines += [
            "",
            f"never leaves: {', '.join(leaves['never'])}",
            "",
            f"at most {amounts.amount(bounds.trainings, 'training')} of "
            f"{amounts.amount(bounds.rounds, 'round')}, {amounts.amount(bounds.reports, 'report')} "
            f"and {bounds.evaluations if leaves['metrics'] else 'no'} evaluations",
            self._behind(),
            self._budget(),
        ]
        if self.sums_keys:
            lines += ["", "reports are masked; the server learns their sum over the silos of"]
            lines += [f"  {scenario:<20} {key}" for scenario, key in sorted(self.sums_keys.items())]
        return "\n".join(lines)

    def _behind(self) -> str:
        """What is behind a report, as text; under a budget each batch draws as many rows as chance
        has it.
        """
        rows = amounts.amount(self.bounds.rows, "row")
        batches = amounts.amount(self.bounds.steps, "batch", "batches")
        if self.plan.get("dp_epsilon"):
            return f"drawn for each report: at least {rows} in the mean, in {batches}"
        return f"behind each report at least {rows} in {batches}"

    def _budget(self) -> str:
        """What differential privacy bounds, as text."""
        epsilon, delta = self.plan.get("dp_epsilon"), self.plan.get("dp_delta")
        if not epsilon:
            return "no budget of differential privacy bounds what the values tell (--dp_epsilon)"
        told = f"delta {delta:g}" if delta else "delta 1 / rows^1.1"
        unit = self.plan.get("dp_unit", "row")
        return f"differential privacy of each {unit}: at most epsilon {epsilon:g} at {told}"


def plan_digest(
    plan: "Mapping[str, Any]", schema: schema_lib.Schema, version: str = pfrec.__version__
) -> str:
    """Names a plan over data of a schema: equal at the driver and at a silo that agree."""
    return hashlib.sha256(
        files.json_text(
            {"plan": agreed_part(plan), "schema": schema.to_json(), "pfrec": version}
        ).encode()
    ).hexdigest()


@dataclasses.dataclass(frozen=True)
class Asked:
    """A driver's plan over data of a schema, to be compared with what a silo agreed to.

    Attributes:
      plan: the part that is agreed on.
      schema: as plain data.
      digest: of both.
    """

    plan: "Mapping[str, Any]"
    schema: "Mapping[str, Any]"
    digest: str

    @classmethod
    def of(cls, plan: "Mapping[str, Any]", schema: schema_lib.Schema) -> "Asked":
        """Of a plan as plain data."""
        return cls(agreed_part(plan), schema.to_json(), plan_digest(plan, schema))

    def difference(self, plan: Any, schema: schema_lib.Schema) -> str:
        """Where the plan and the schema that a silo tells first differ from these, in words; empty
        where they do not, so that its version does.
        """
        for mine, told in ((self.plan, plan), (self.schema, schema.to_json())):
            found = dataset_lib.first_difference(_as_json(mine), _as_json(told))
            if found:
                return f"here {found} there"
        return ""


def _as_json(value: Any) -> Any:
    """The value as it is after a trip through JSON."""
    return files.parse_json(files.json_text(value))


def agreed_part(plan: "Mapping[str, Any]") -> "dict[str, Any]":
    """A plan without what is the driver's own business:
    which finished run its first values come from, a path on its machine.
    """
    return {**plan, "init_from": ""}


def check_ceiling(
    groups: "Sequence[Mapping[str, Any]]", schema: schema_lib.Schema, place: str
) -> None:
    """Checks that no table leaves that the silo's schema calls private:
    no rule of a plan goes over that.

    Args:
      groups: rows of `SharingPolicy.table`, of which `group` and `leaves` count.
      schema: the silo's own.
      place: for the message.

    Raises:
      PfrecError: where one does; the message names it.
    """
    private = {
        f"embedding/{feature.name}" for feature in schema.categorical if feature.policy == "private"
    }
    for row in groups:
        if row["leaves"] and row["group"] in private:
            raise errors.PfrecError(
                f"{place}: {row['group']} would leave, and the silo's schema says that it is "
                "private; take the rule that shares it out of "
                "--sharing, or let the silo's owner convert with a schema that shares it"
            )


def _shape(shape: "Sequence[int]") -> str:
    return " x ".join(map(str, shape)) or "number"
