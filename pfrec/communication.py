"""How many bytes cross the wire, from a run's privacy manifest."""

from collections.abc import Mapping
from typing import Any


def round_bytes(manifest: Mapping[str, Any], participation: float, clients: int) -> int:
    """Bytes of a round, both ways, of all clients that take part.

    Args:
      manifest: the content of privacy_manifest.json; of one client and one aggregation.
      participation: the plan's share of clients that train in a round.
      clients: how many there are.
    """
    present = max(1, round(participation * clients))
    training: int = manifest["aggregations_per_round"] * (
        manifest["upload_bytes"] + manifest["download_bytes"]
    )
    # All clients evaluate, whoever trains.
    return present * training + clients * int(manifest.get("evaluation_download_bytes", 0))
