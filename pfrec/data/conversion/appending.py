"""Further rows of a dataset: read by its own schema, vocabularies and statistics, so that an id
means in them what it meant before.

A new dataset is written, never the old one changed: runs and exports are bound to its rows. The new
one starts from the vocabularies of the old in the same order, and where it is to hold the old rows
too, their files are the same bytes.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors, files
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion import encoding, local_statistics, places, splitting, toml_schema
from pfrec.data.conversion.columns import as_text
from pfrec.data.conversion.toml import feature_tables
from pfrec.data.dataset import dataset, row_block, writer
from pfrec.data.reading import source

# What becomes of a value that no vocabulary knows and of an id beyond the cardinality.
UNKNOWN, GROW = "unknown", "grow"
POLICIES = (UNKNOWN, GROW)
# What becomes of rows that are there already.
STOP, KEEP = "stop", "keep"
_COUNTED = ("identity", "vocabulary", "local_vocabulary")


@dataclasses.dataclass(frozen=True)
class Before:
    """The dataset that rows are appended to.

    Attributes:
      data: it.
      unknown_ids: `UNKNOWN`: values that it does not know have the unknown id. `GROW`: those of
        training rows get ids after the known ones, and ids of an identity stay what they are.
      keep_rows: whether the new dataset holds its rows too. Vocabularies then grow into free places
        alone: the unknown id of the old rows must not become that of a value.
      repeated: `STOP` where the further rows are there already, or `KEEP` for adding them again.
    """

    data: dataset.Dataset
    unknown_ids: str = UNKNOWN
    keep_rows: bool = True
    repeated: str = STOP

    @functools.cached_property
    def _told(self) -> Mapping[str, Any]:
        place = self.data.path / writer.DATASET_FILE
        told: Mapping[str, Any] = files.read_json(place, remedy="run pfrec-convert to make it anew")
        return told

    @property
    def _reading(self) -> Optional[Mapping[str, Any]]:
        return self._told.get("reading")

    def described(self, given: Optional[toml_schema.TomlSchema]) -> toml_schema.TomlSchema:
        """How the further rows are read.

        Args:
          given: a schema that the user gave: it says where values, scenario and split stand, and
            how text is laid out; its features and tasks must be the dataset's. None for how the
            dataset's last rows were read.

        Raises:
          PfrecError: where the dataset does not say how it was read and no schema is given, or the
            given one means something else.
        """
        if given is None:
            if self._reading is None:
                raise errors.PfrecError(
                    f"{self.data.path}: does not say how its files were read; pass the schema that "
                    "it was made with as --schema"
                )
            found = self._as_read(self._reading)
            if found.rule is not None and found.rule.starts is not None:
                # Later rows are all after those times: parts of their own instead.
                found = dataclasses.replace(
                    found, rule=dataclasses.replace(found.rule, starts=None)
                )
            return found
        difference = dataset.first_difference(_meaning(self.data.schema), _meaning(given.schema))
        if difference:
            raise errors.PfrecError(
                f"--schema: is not that of {self.data.path}: {difference}; only where values are "
                "read from may differ (column, separator, group, weight, [scenario], [split], "
                "[file]): let features and tasks keep their names and give their columns, or "
                "convert all rows anew"
            )
        self._require_histories(given)
        where = places.of(given.schema)
        return dataclasses.replace(
            given,
            schema=places.moved(self.data.schema, where),
            elsewhere=where != places.of(self.data.schema),
        )

    def _require_histories(self, given: toml_schema.TomlSchema) -> None:
        """Checks that lists which are made of a log's earlier rows list what those of before did;
        the columns that they are made of may be called otherwise.
        """
        if self._reading is None:
            return
        before, now = _listed(self._as_read(self._reading)), _listed(given)
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                raise errors.PfrecError(
                    f"--schema: {name} holds {now.get(name, _STORED)}, in {self.data.path} "
                    f"{before.get(name, _STORED)}; let its `history` be as before, or convert all "
                    "rows anew"
                )

    def _as_read(self, reading: Mapping[str, Any]) -> toml_schema.TomlSchema:
        """How the dataset's last rows were read."""
        place = str(self.data.path / writer.DATASET_FILE)
        return toml_schema.of_record(self.data.schema, reading, place)

    def at_home(self, schema: schema_lib.Schema) -> schema_lib.Schema:
        """A schema by which further rows were read, as the new dataset has it: with the columns
        that the dataset of before had, which runs and exports know it by.
        """
        return places.moved(schema, places.of(self.data.schema))

    @property
    def missing_numerical(self) -> str:
        """What was done with missing numbers, see `encoding.encode`."""
        return str(self._told.get("options", {}).get("missing_numerical", "reject"))

    @property
    def refuses_repeated(self) -> bool:
        """Whether rows that are there are an error: the new dataset would hold them twice."""
        return self.keep_rows and self.repeated == STOP

    @property
    def inputs(self) -> "list[Mapping[str, Any]]":
        """What each input held that its rows are of, see `repeats.Contents`; one is missing that a
        version converted which did not sum it up.
        """
        return list(self._told.get("inputs", ()))

    def notes(self, schema: schema_lib.Schema) -> "list[str]":
        """What the user should know, a line each, where the further rows are read by `schema`."""
        found = places.notes(self.data.schema, schema)
        rule = (self._reading or {}).get("rule") or {}
        if rule.get("kind") == splitting.TIME and rule.get("starts"):
            found.append(
                "the new rows are split by parts of their own time, not at the dates of before"
            )
        return found

    def compared(self, rows: Mapping[str, int]) -> "list[str]":
        """A line for each scenario that is new, and for each of before without a new row.

        Args:
          rows: how many new rows each scenario has.
        """
        known = self.data.scenarios
        found = [f"scenario {name}: new, {rows[name]:,} rows" for name in rows if name not in known]
        for name in known:
            if not rows.get(name):
                without = f"; its earlier ones stay, without: pfrec-train --skip_scenarios={name}"
                found.append(f"scenario {name}: no new rows{without * self.keep_rows}")
        return found

    @property
    def told(self) -> dict[str, Any]:
        """What tells it from others, as a JSON value."""
        return {
            "to": dict(self.data.digests),
            "unknown_ids": self.unknown_ids,
            "keep_rows": self.keep_rows,
            "before": self._told.get("appended"),
        }

    @functools.cached_property
    def clients(self) -> "dict[str, schema_lib.Schema]":
        """What the client of each scenario knew."""
        return {name: self.data.client_schema(name) for name in self.data.scenarios}

    def kept(self) -> "dict[tuple[str, str], writer.Kept]":
        """The old rows that the new dataset holds too, by scenario and split."""
        if not self.keep_rows:
            return {}
        data = self.data
        found = {}
        for scenario in data.scenarios:
            for split in splits.SPLITS:
                paths = [pathlib.Path(shard) for shard in data.shards(scenario, split)]
                names = [path.relative_to(data.path).as_posix() for path in paths]
                counts = dataclasses.asdict(data.counts[scenario][split])
                entries = tuple(data.files[name] for name in names)
                found[scenario, split] = writer.Kept(tuple(paths), entries, counts)
        return found

    def grown(
        self,
        schema: schema_lib.Schema,
        rows: "Iterable[tuple[source.RawChunk, np.ndarray]]",
        missing_numerical: str,
    ) -> schema_lib.Schema:
        """The agreed schema with the values that the further rows have and it does not know.

        New values of a vocabulary come commonest first, equally common ones in order of text, after
        the old ones, where training rows have them. The cardinality of an identity grows to the
        largest id of all rows: in one that were unknown, a later month's growth would make it that
        of a value.

        Args:
          schema: the agreed one, with the columns of the further rows.
          rows: raw rows, and bool [rows] that says which are for training; bad rows among them are
            left out.
          missing_numerical: see `encoding.encode`.

        Raises:
          PfrecError: where an identity has to grow and rows that are kept hold its unknown id.
        """
        growing = {f.name for f in schema.categorical if f.encoding in ("vocabulary", "identity")}
        if self.unknown_ids != GROW or not growing:
            return schema
        words = {f.name: local_statistics.Vocabulary() for f in schema.categorical}
        largest = {f.name: -1 for f in schema.categorical}
        # The split of rows into good and bad is that of a conversion whose ids have no end.
        opened = local_statistics.open_schema(schema)
        opened = dataclasses.replace(
            opened,
            categorical=tuple(
                dataclasses.replace(f, cardinality=feature_tables.MAX_CARDINALITY)
                if f.encoding == "identity"
                else f
                for f in opened.categorical
            ),
        )
        for chunk, trains in rows:
            encoded = encoding.encode_good(chunk, opened, missing_numerical=missing_numerical)
            if not encoded.good.any():
                continue
            learned = encoded.good & trains
            part = chunk if learned.all() else chunk.take(np.flatnonzero(learned))
            for feature, place in zip(schema.categorical, schema.id_places):
                if feature.encoding == "vocabulary" and not feature.table:
                    words[feature.name].add(as_text.all_values(part, feature))
                elif feature.encoding == "identity":
                    found = int(encoded.rows.categorical[:, place].max())
                    largest[feature.owner] = max(largest[feature.owner], found)
        return dataclasses.replace(
            schema,
            categorical=tuple(
                self._grown(f, words[f.owner], largest[f.owner]) for f in schema.categorical
            ),
        )

    def _grown(
        self, feature: schema_lib.Categorical, words: local_statistics.Vocabulary, largest: int
    ) -> schema_lib.Categorical:
        if feature.encoding == "identity":
            cardinality = max(feature.cardinality, largest + 1)
            if cardinality > feature.cardinality:
                self._require_none_unknown(feature, largest)
            return dataclasses.replace(feature, cardinality=cardinality)
        if feature.encoding != "vocabulary":
            return feature
        most = feature.cardinality if self.keep_rows else feature_tables.MAX_CARDINALITY
        found = words.words(most, 1, feature.vocabulary)
        return dataclasses.replace(
            feature, vocabulary=found, cardinality=max(feature.cardinality, len(found))
        )

    def _require_none_unknown(self, feature: schema_lib.Categorical, largest: int) -> None:
        """Checks that no row that is kept holds the unknown id of an identity, which would become
        that of a value. Only rows that were appended may: a conversion from nothing takes an id
        beyond the cardinality for a bad row.

        Raises:
          PfrecError: where one does.
        """
        alike = [f.name for f in self.data.schema.categorical if f.owner == feature.owner]
        earlier = self._told.get("appended") if self.keep_rows else None
        while earlier is not None:
            unknown = sum(earlier["features"][name]["unknown"] for name in alike)
            if unknown:
                raise errors.PfrecError(
                    f"{self.data.path}: {feature.name!r} cannot grow to the id {largest}: "
                    f"{unknown:,} values that were appended before have the unknown id "
                    f"{feature.cardinality}, which would become that of a value; append their "
                    "files and these with --unknown_ids=grow to the dataset that lacks both, or "
                    "leave the rows of before out with --nokeep_rows"
                )
            earlier = earlier["before"] if earlier["keep_rows"] else None


class Tally:
    """Counts, while rows are written, the values that the dataset of before does not know."""

    def __init__(self, before: Before, state: Optional[Mapping[str, Any]]) -> None:
        """Starts, or goes on from what `state` returned."""
        self._before = before
        schema = before.data.schema
        self._features = [
            (f, place)
            for f, place in zip(schema.categorical, schema.id_places)
            if f.encoding in _COUNTED
        ]
        self._clients = before.clients
        nothing: dict[str, list[int]] = {f.name: [0, 0, 0] for f, _ in self._features}
        self._counts = {name: np.array(c, np.int64) for name, c in (state or nothing).items()}

    def add(self, scenario: str, rows: row_block.Rows, schema: schema_lib.Schema) -> None:
        """Takes in rows of a scenario, encoded by `schema`."""
        old = self._clients.get(scenario)
        number = {f.name: i for i, f in enumerate(schema.categorical)}
        for feature, place in self._features:
            i = number[feature.name]
            if old is None and feature.encoding == "local_vocabulary":
                continue  # a new client's own vocabulary, nothing of which was known
            known = (old or self._before.data.schema).categorical[i]
            places = known.cardinality if known.encoding == "identity" else len(known.vocabulary)
            ids = rows.categorical[:, place]
            unknown = ids == schema.categorical[i].cardinality
            values = int((ids != schema_lib.NO_VALUE).sum())
            later = int(((ids >= places) & ~unknown).sum())
            self._counts[feature.name] += [values, later, int(unknown.sum())]

    def state(self) -> dict[str, Any]:
        """A JSON value to go on from."""
        return {name: counts.tolist() for name, counts in self._counts.items()}

    def record(self) -> dict[str, Any]:
        """What `dataset.json` says: counts of agreed features alone."""
        features = {
            f.name: dict(zip(("values", "new", "unknown"), self._counts[f.name].tolist()))
            for f, _ in self._features
            if f.encoding != "local_vocabulary"
        }
        return {**self._before.told, "features": features}

    def notes(self) -> "list[str]":
        """A line for each feature with values that were not known."""
        found = []
        for feature, _ in self._features:
            values, new, unknown = self._counts[feature.name].tolist()
            if new + unknown:
                found.append(
                    f"{feature.raw!r}: {new + unknown:,} of {values:,} values were not known "
                    f"before: {new:,} have a new id, {unknown:,} the unknown one "
                    "(as empty values have)"
                )
        return found


def order(before: Optional[Before], names: Optional[Sequence[str]]) -> Optional[list[str]]:
    """The scenarios of the new dataset in order: those whose rows are kept first."""
    if before is None or not before.keep_rows or names is None:
        return None if names is None else list(names)
    return list(dict.fromkeys([*before.data.scenarios, *names]))


# What a list holds that is not made of earlier rows.
_STORED = "what a column of the file lists"


def _listed(described: toml_schema.TomlSchema) -> "dict[str, str]":
    """What the lists hold that are made of a log's earlier rows, by feature."""
    features = {feature.raw: feature.name for feature in described.schema.categorical}
    return {
        features[rule.column]: f"the last {rule.values} earlier values"
        + (f" of rows whose {rule.where} is 1" if rule.where else "")
        for rule in described.histories
    }


def _meaning(schema: schema_lib.Schema) -> Any:
    """What a schema's values mean, without the known ones, which may have grown."""
    told = places.meaning(schema)
    for entry in told["categorical"]:
        entry.pop("vocabulary", None)
        if entry["encoding"] in ("vocabulary", "identity"):
            del entry["cardinality"]
    return told
