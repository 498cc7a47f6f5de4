"""What a silo runs and lets leave under an agreement: worked out from the plan in it, by the code
that a driver works it out with.
"""

from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2

from pfrec import client_directory, errors, metrics
from tff_process import plan as plan_lib
from tff_process.privacy import mechanism as mechanism_lib
from tff_process.process import computations, federation, plan_values, spread
from tff_process.runtime import compiled as compiled_lib
from tff_process.runtime import remote, state_files
from tff_process.silos import agreement as agreement_lib
from tff_process.silos import (
    directory,
    joint_dataset,
    labels,
    origins,
    receivable,
    values,
    work_rules,
)
from tff_process.silos import terms as terms_lib
from tff_process.sums import masks

_DTYPES = {
    np.float32: values.FLOAT,
    np.float64: values.DOUBLE,
    np.int8: values.INT8,
    np.int16: values.INT16,
    np.int32: values.INT32,
    np.int64: values.INT64,
    np.str_: values.STRING,
}
# A round is trained again where a worker was lost, and a run that ends early is resumed from its
# last whole round.
_REPEATED = 2
_COUNTED = 3
# Under an agreement, with what each asks for when it begins.
_CONNECTIONS = 5_000


class OwnComputations:
    """A silo's own side of a plan.

    Args:
      plan: of the agreement, or one to make an agreement of.
      facts: of the silo.
      place: what the plan comes from, for messages.

    Attributes:
      plan: as the silo reads it.
      work: how much a driver may ask for.

    Raises:
      PfrecError: where a table would leave that the silo's schema calls private, or clients are to
        finish what they serve, which no gatekeeper knows the computation of.
    """

    def __init__(self, plan: "Mapping[str, Any]", facts: directory.Facts, place: str) -> None:
        self._place = place
        try:
            self.plan = plan_lib.Plan.from_json(plan)
        except (KeyError, TypeError, ValueError) as error:
            raise errors.PfrecError(
                f"{place}: not a plan ({error!r}); make it with pfrec-agreement"
            ) from error
        if self.plan.finishes:
            raise errors.PfrecError(
                f"{place}: --home_epochs={self.plan.home_epochs:g}: over silos clients finish what "
                "they serve with --dp_epsilon alone; leave it out"
            )
        self._facts = facts
        self._federation = federation.Federation(self.plan, joint_dataset.agreed([facts]))
        made = self._federation
        self._groups = made.algorithm.policy.table(made.tagged)
        agreement_lib.check_ceiling(self._groups, facts.schema, place)
        self._traced = computations.trace(made.process_spec())

    def work(self, rows: int = 1, steps: int = 1) -> work_rules.WorkRules:
        """How much a driver may ask for, with at least some rows and steps behind each report."""
        plan = self._federation.plan
        tasks = [task.name for task in self._facts.schema.tasks]
        turns = self._federation.turns
        mechanism = self._federation.mechanism
        home = None if mechanism is None else mechanism.budgets[0].home_steps(plan.passes_at_home)
        return work_rules.WorkRules(
            plan.rounds,
            turns.round_steps[0],
            turns.epoch_steps[0],
            plan.batch_size,
            rows,
            steps,
            plan.learning_rate,
            plan.seed,
            home,
            task_weights=plan_values.task_weights(plan, self._facts.scenario, tasks),
            positive_weights=plan_values.positive_weights(plan, self._facts.scenario, tasks),
            scheduled=plan.schedule != plan_lib.CONSTANT or plan.warmup > 0,
            train_rows=self._facts.train_rows,
        )

    def bounds(self, trainings: int, rows: int, aggregation_steps: int = 0) -> agreement_lib.Bounds:
        """Bounds that the plan fits in.

        Args:
          trainings: that may begin.
          rows: behind each report, at least; 0 for as many as the plan makes it here.
          aggregation_steps: of a round; 0 for as many as there are where all silos have as many
            rows as this one.
        """
        plan, work = self.plan, self.work()
        aggregations = min(
            aggregation_steps or self._federation.aggregation_steps, work.round_steps
        )
        steps = work.round_steps // aggregations
        return agreement_lib.Bounds(
            trainings=trainings,
            rounds=plan.rounds,
            reports=trainings * plan.rounds * aggregations * _REPEATED,
            # Each round on valid, and the best one on test.
            evaluations=trainings * (plan.rounds * self._federation.valid_models + 1) * _REPEATED,
            rows=rows or work.fewest_rows(aggregations),
            steps=steps,
        )

    def leaves(self) -> "dict[str, Any]":
        """What leaves, as it stands in an agreement."""
        answers = self._answers()

        def listed(*told: str) -> "list[dict[str, Any]]":
            named = [it for of in told for it in values.tensors(answers.get(of, {}))]
            return [
                {"what": name, "shape": list(of.shape), "bytes": of.bytes} for name, of in named
            ]

        return {
            "groups": [{"group": row["group"], "leaves": row["leaves"]} for row in self._groups],
            "report": listed(labels.REPORT),
            "row_counts": listed(labels.COUNTS),
            "metrics": listed(labels.METRICS, labels.SPREADS_METRICS),
            "never": [str(row["group"]) for row in self._groups if not row["leaves"]]
            + ["optimizer", "secret"],
        }

    def agreement(
        self,
        bounds: agreement_lib.Bounds,
        version: str,
        sums_keys: "Optional[Mapping[str, str]]" = None,
    ) -> agreement_lib.Agreement:
        """The agreement to this plan; with --secure_sums between silos of these keys."""
        plan, facts = agreement_lib.agreed_part(self.plan.to_json()), self._facts
        return agreement_lib.Agreement(
            facts.scenario, version, plan, facts.schema, self.leaves(), bounds, sums_keys or {}
        )

    def terms(self, agreement: agreement_lib.Agreement, secret: bytes = b"") -> terms_lib.Terms:
        """What a gatekeeper enforces; the computations are compiled here.

        Args:
          agreement: the silo's.
          secret: the silo's own, which masks and noise follow from; needed with --secure_sums and
            --dp_epsilon.

        Raises:
          PfrecError: where the agreement is another silo's, says of what leaves something else than
            the plan in it, or bounds work that the plan cannot do here, or its keys are not those
            of silos that can have a sum.
        """
        facts, place, bounds = self._facts, self._place, agreement.bounds
        if agreement.scenario != facts.scenario:
            raise errors.PfrecError(
                f"{place}: agreement of the silo of {agreement.scenario!r}, and this is "
                f"{facts.scenario!r}'s"
            )
        if agreement.schema != facts.schema:
            raise errors.PfrecError(
                f"{place}: agrees to another schema than that of the silo's data; make it anew "
                "with pfrec-agreement"
            )
        mine = self.agreement(bounds, agreement.version, agreement.sums_keys)
        if unsaid := _unsaid(agreement.plan, mine.plan):
            raise errors.PfrecError(
                f"{place}: made by pfrec {agreement.version}, it says nothing of "
                f"{', '.join(unsaid)}; make it anew with pfrec-agreement, and read it once more"
            )
        if agreement.digest != mine.digest:
            raise errors.PfrecError(
                f"{place}: what it says of what leaves is not what its plan makes leave; make it "
                "anew with pfrec-agreement"
            )
        work = self.work(bounds.rows, bounds.steps)
        if bounds.rounds != self.plan.rounds:
            raise errors.PfrecError(
                f"{place}: bounds {bounds.rounds} rounds, and its plan has {self.plan.rounds}; "
                "make it anew"
            )
        whole = work.fewest_rows(1)
        if whole < bounds.rows or work.round_steps < bounds.steps:
            raise errors.PfrecError(
                f"{place}: asks for {bounds.rows} rows in {bounds.steps} steps behind each report, "
                f"and a whole round has {whole} in {work.round_steps} here; agree to less"
            )
        traced, at_home = self._traced, compiled_lib.AT_HOME_FUNCTIONS if work.home_steps else ()
        functions = compiled_lib.traced_functions(
            compiled_lib.tracers(traced, (*compiled_lib.client_functions(traced), *at_home))
        )
        compiled = compiled_lib.Compiled.of(traced, functions)
        received_writer = state_files.received_writer(traced.types.shared, traced.types.personal)
        answers, mechanism = self._answers(), self._federation.mechanism
        own = [
            compiled.train,
            *(functions[name] for name in at_home),
            *([compiled.evaluate] if compiled.evaluate else []),
            *([compiled.count] if labels.COUNTS in answers else []),
            compiled.write,
            remote.Function.of("write_received", received_writer),
            compiled.read,
            compiled.start,
            compiled.note,
            remote.Function.of("secret", state_files.secret_reader()),
            remote.Function.of("facts", state_files.text_reader()),
        ]
        taken = receivable.Receivable(
            shared=spec(traced.types.shared),
            personal=spec(traced.types.personal),
            first_values=spec(compiled.start.type_signature.parameter),
            serves=tuple(float(value) for value in self._federation._serves(0)),
            shards=facts.shards,
            work=work,
            client=client_directory.description(
                self.plan.model, facts.schema, facts.scenario, self.plan.seed, facts.data
            ),
            continued=agreement.plan if self.plan.continues else None,
            summed=self.plan.secure_sums,
            spreads=spec(traced.types.spreads) if labels.SPREADS_METRICS in answers else None,
            tried=(1.0, *spread.FACTORS),
            begins=self._begins(compiled.start.type_signature.parameter),
        )
        limits = {
            labels.REPORT: bounds.reports,
            labels.METRICS: bounds.evaluations,
            # The same numbers each time: a run that is resumed before its first round was whole
            # asks again.
            labels.COUNTS: bounds.trainings * _COUNTED,
            # Of no use to a driver, and bounded for the ledger's sake: notes of refusals or what is
            # trained at home with reports, a state and a note of what to keep with each round,
            # states that are read.
            labels.ACKNOWLEDGEMENT: 2 * bounds.reports + 4 * bounds.evaluations + _CONNECTIONS,
            labels.FACTS: 2 * _CONNECTIONS,
        }
        drawn_of = directory.secret_of_rows(secret, facts.data, agreement.plan)
        return terms_lib.Terms(
            plan_digest=agreement.plan_digest,
            agreement_digest=agreement.digest,
            receivable=taken,
            computations={
                it.name: executor_pb2.Value(
                    computation=tff.framework.serialize_computation(it.computation)
                )
                for it in own
            },
            answers=answers,
            limits=terms_lib.Limits(
                limits,
                bounds.trainings,
                {labels.SPREADS_METRICS: (labels.METRICS, self._federation.valid_models)},
            ),
            budget=None if mechanism is None else mechanism.budgets[0],
            noise=origins.of(str(mechanism_lib.DRAWS), drawn_of.hex()),
            masks=self._masks(agreement.sums_keys, secret),
        )

    def _begins(self, kind: tff.StructType) -> "dict[str, np.ndarray]":
        """The first values that follow from the plan's seed: all, or of a training that goes on
        from another one, or starts from what others have in common, its private tables alone, and
        all copies of them: an average trains on in one.
        """
        own = self._federation._initial
        found = {name: own[name] for name, _ in tff.structure.to_elements(kind)}
        if not self.plan.continues and self.plan.name != plan_lib.NEWCOMERS:
            return found
        groups = {
            f"embedding/{feature.name}"
            for feature in self._facts.schema.categorical
            if feature.policy == "private"
        }
        private = tuple(
            f"/{spec.name}" for spec in self._federation.layout.specs if spec.group in groups
        )
        return {name: value for name, value in found.items() if f"/{name}".endswith(private)}

    def _masks(self, keys: "Mapping[str, str]", secret: bytes) -> Optional[masks.Masks]:
        """What reports are masked by; None where they leave as they are."""
        if not self.plan.secure_sums:
            if keys:
                raise errors.PfrecError(
                    f"{self._place}: has keys for sums, and its plan no --secure_sums; make it "
                    "anew with pfrec-agreement"
                )
            return None
        remedy = (
            "give --sums_keys of pfrec-agreement the keys of all silos, this one's is "
            f"{self._facts.scenario}={masks.public_key(secret).hex()}"
        )
        if not keys:
            raise errors.PfrecError(f"--secure_sums: {remedy}")
        try:
            parsed = {name: bytes.fromhex(key) for name, key in keys.items()}
            return masks.Masks(secret, self._facts.scenario, parsed)
        except (ValueError, errors.PfrecError) as error:
            raise errors.PfrecError(f"{self._place}: --secure_sums: {error}; {remedy}") from error

    def _answers(self) -> "dict[str, values.Spec]":
        """The types of what leaves, by label, under the names of the privacy manifest."""
        traced, tasks = self._traced, len(self._facts.schema.tasks)
        report = dict(spec(traced.types.sent))
        found: dict[str, values.Spec] = {
            labels.REPORT: {**report.pop("values"), **report},
            labels.ACKNOWLEDGEMENT: {"length": values.Tensor(values.INT32, ())},
            labels.FACTS: {directory.FACTS: values.Tensor(values.STRING, ())},
        }
        if plan_lib.METRICS not in self.plan.withhold:
            shape = (tasks, len(metrics.METRICS))
            if traced.finds_spread:
                models = self._federation.valid_models
                found[labels.METRICS] = {"metrics": values.Tensor(values.DOUBLE, (1, *shape))}
                found[labels.SPREADS_METRICS] = {
                    "spreads_metrics": values.Tensor(values.DOUBLE, (models, *shape))
                }
            else:
                found[labels.METRICS] = {"metrics": values.Tensor(values.DOUBLE, shape)}
        if self._federation.counts_ids:
            found[labels.COUNTS] = {"row_counts": spec(traced.types.counts)}
        return found


def spec(kind: tff.Type) -> Any:
    """A TFF type as plain data."""
    if isinstance(kind, tff.StructType):
        return {name: spec(of) for name, of in tff.structure.to_elements(kind)}
    return values.Tensor(_DTYPES[kind.dtype.type], tuple(kind.shape))


def _unsaid(agreed: "Mapping[str, Any]", whole: "Mapping[str, Any]", of: str = "") -> "list[str]":
    """The settings of a plan that an agreement does not speak of, as one made before they were."""
    found = []
    for name, value in whole.items():
        if name not in agreed:
            found.append(f"{of}{name}")
        elif isinstance(value, Mapping) and isinstance(agreed[name], Mapping):
            found += _unsaid(agreed[name], value, f"{of}{name}.")
    return found
