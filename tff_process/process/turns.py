"""Who trains in which aggregation step, and which batches: by the plan and by how many rows each
client says that it has.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from pfrec import coarsening
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from tff_process import plan as plan_lib


def told_rows(dataset: dataset_lib.Dataset) -> list[int]:
    """Each client's training rows as a silo says that it has them, so that a simulation comes to
    the same.
    """
    return [coarsening.row_count(dataset.rows(name, "train")) for name in dataset.scenarios]


def epoch_steps(plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> list[int]:
    """Each client's batches in an epoch.

    Args:
      plan: with a batch size.
      dataset: of the clients, its scenarios.
    """
    return [pipeline.steps_per_epoch(count, plan.batch_size) for count in told_rows(dataset)]


def round_steps(plan: plan_lib.Plan, epoch_steps: Sequence[int]) -> list[int]:
    """Each client's batches in a round, of those in an epoch."""
    return [max(1, round(plan.local_epochs * epoch)) for epoch in epoch_steps]


def aggregations_of_a_round(plan: plan_lib.Plan, steps: Sequence[int]) -> int:
    """How many aggregation steps a round's local training is cut into: `plan.aggregations`, more
    where more than `plan.aggregate_every` batches of the median client would lie between two, and
    no more than the batches of the median client. Of two, that is the one with more for what the
    plan asks for, and the one with fewer for what is beyond that.

    A median, so that no client sets everybody's number by the rows that it says it has, nor one of
    two the other's. Who has fewer batches than there are aggregation steps takes part in as many of
    them (`Turns.working`).

    Args:
      plan: with what is asked for.
      steps: each client's batches in a round.
    """
    wanted = max(plan.aggregations, round(statistics.median(steps) / plan.aggregate_every))
    asked = min(plan.aggregations, statistics.median_high(steps))
    return min(wanted, max(asked, statistics.median_low(steps)))


class Turns:
    """The parts that the clients' rounds are cut into, and how many each has done.

    A client that is absent goes on, when it is there again, where it stopped.

    Args:
      plan: with the seed, and who takes part.
      epoch_steps: each client's batches in an epoch.
      steps: each client's batches in a round, `round_steps`.
      aggregation_steps: how many parts a round has.
      rounds: how many there are at most.

    Attributes:
      epoch_steps, round_steps: as given.
      done: how many parts each client has done, of all rounds.
    """

    def __init__(
        self,
        plan: plan_lib.Plan,
        epoch_steps: Sequence[int],
        steps: Sequence[int],
        aggregation_steps: int,
        rounds: int,
    ) -> None:
        self._plan, self._parts, self._rounds = plan, aggregation_steps, rounds
        self.epoch_steps, self.round_steps = list(epoch_steps), list(steps)
        self.done = [0] * len(self.epoch_steps)

    def participants(self, number: int) -> list[int]:
        """The clients of aggregation step `number`, counted from 0 over all rounds, ascending; a
        function of the seed and the step.
        """
        clients = len(self.done)
        count = max(1, round(self._plan.participation * clients))
        chosen = np.random.default_rng([self._plan.seed, number]).permutation(clients)[:count]
        return sorted(int(i) for i in chosen)

    def working(self, number: int) -> list[int]:
        """The participants of an aggregation step that have a batch in it.

        Where a client has fewer batches in a round than there are parts, some parts are empty. In
        those it is absent, and they count as done (`pass_over`).
        """
        return [client for client in self.participants(number) if self.part(client)[1]]

    def pass_over(self, number: int) -> int:
        """Counts the empty parts of an aggregation step as done; how many there were."""
        idle = [client for client in self.participants(number) if not self.part(client)[1]]
        for client in idle:
            self.done[client] += 1
        return len(idle)

    def part(self, client: int, later: int = 0) -> tuple[int, int]:
        """A client's next part of its training, or one so many parts later: its first batch,
        counted over all rounds, and how many batches it has.
        """
        steps = self.round_steps[client]
        rounds, part = divmod(self.done[client] + later, self._parts)
        first, last = (at * steps // self._parts for at in (part, part + 1))
        return rounds * steps + first, last - first

    def is_last(self, client: int, number: int) -> bool:
        """Whether a client has a batch in no aggregation step after `number`, in which it has."""
        parts = 0
        for later in range(number + 1, self._rounds * self._parts):
            if client in self.participants(later):
                parts += 1
                if self.part(client, parts)[1]:
                    return False
        return True
