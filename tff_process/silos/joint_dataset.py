"""The dataset that silos hold together, as far as they tell of it."""

import pathlib
from collections.abc import Sequence

from pfrec import errors
from pfrec.data import splits
from pfrec.data.dataset import dataset as dataset_lib
from tff_process.silos import directory as silo_directory


def agreed(facts: "Sequence[silo_directory.Facts]") -> dataset_lib.Dataset:
    """The dataset that silos hold together.

    Raises:
      PfrecError: where their schemas differ.
    """
    first = facts[0]
    for other in facts[1:]:
        if other.schema != first.schema:
            difference = dataset_lib.first_difference(
                first.schema.to_json(), other.schema.to_json()
            )
            raise errors.PfrecError(
                f"the schemas of the silos of {first.scenario!r} and {other.scenario!r} differ: "
                f"{difference}; convert both with the same schema"
            )

    def counts(one: silo_directory.Facts, split: str) -> dataset_lib.Counts:
        known = one.tasks if split == "train" else ()
        rows = one.train_rows if split == "train" else 0
        return dataset_lib.Counts(
            rows, {t.name: int(t.name in known) for t in one.schema.tasks}, dict.fromkeys(known, 0)
        )

    start = f"{silo_directory.DATA}/"
    return dataset_lib.Dataset(
        path=pathlib.Path(silo_directory.DATA),
        scenarios=tuple(one.scenario for one in facts),
        schema=first.schema,
        counts={
            one.scenario: {split: counts(one, split) for split in splits.SPLITS} for one in facts
        },
        files={
            name[len(start) :]: {}
            for one in facts
            for names in one.shards.values()
            for name in names
        },
        source_format="silos",
        split_seed=0,
        digests={one.scenario: one.data for one in facts},
    )
