"""The algorithm of a plan, with what the plan says of it applied."""

import dataclasses
from collections.abc import Sequence

from pfrec import errors
from pfrec.data import schema as schema_lib
from tff_process import plan as plan_lib
from tff_process.algorithms import averaging, base, registry, robust
from tff_process.client import small_uploads, strategy, summed_uploads, variables


def of(plan: plan_lib.Plan, schema: schema_lib.Schema, epochs: float) -> base.Algorithm:
    """The algorithm.

    Args:
      plan: which one, its sharing rules, and what else applies to all algorithms.
      schema: of the rows.
      epochs: how much of its rows a client goes over between two aggregations.

    Raises:
      PfrecError: where the algorithm does not go with secure sums, or shares what means something
        else at every client.
    """
    algorithm = plan.algorithm
    if isinstance(algorithm, str):
        algorithm = registry.find(algorithm).build(schema, plan.settings, epochs)
    if plan.secure_sums and algorithm.in_sums is not None:
        algorithm = algorithm.in_sums()
    if plan.secure_sums and not base.needs_means_alone(algorithm):
        why = "its server makes each client's values of single updates, or compares them, and "
        why += "sums do not hold those;"
        if not registry.is_own(str(plan.algorithm)) and not algorithm.personal_kinds:
            why = "it does not say that its server needs a weighted mean alone: where that is all, "
            why += "mark its `aggregate` by base.of_means, or"
        raise errors.PfrecError(
            f"--secure_sums with {algorithm.name}: {why} train with one whose server needs a mean "
            "alone, as fedavg, fedprox, fedbn or fedper"
        )
    algorithm = dataclasses.replace(
        robust.applied(algorithm, plan.robust),
        policy=algorithm.policy.override(plan.sharing),
        # It is searched by metrics.
        finds_spread=algorithm.finds_spread and plan_lib.METRICS not in plan.withhold,
    )
    _check_shared(algorithm, schema)
    return algorithm if plan.dp_epsilon else averaging.averaged(algorithm, plan.average_over)


def uploading(
    algorithm: base.Algorithm,
    plan: plan_lib.Plan,
    layout: variables.ModelVariables,
    tasks: "Sequence[str]",
) -> base.Algorithm:
    """The algorithm with clients whose uploads are as the plan says: small, or for a sum.

    Args:
      algorithm: of the plan.
      plan: how what leaves is to leave.
      layout: of the model's variables under the algorithm's policy.
      tasks: their names, in model order.

    Raises:
      PfrecError: where nothing leaves that could be, or a client's own strategy names what is not.
    """
    client = algorithm.client
    strategy.require_known(client, layout, f"algorithm {algorithm.name}: its client's")
    if plan.upload_bits < strategy.FULL_BITS:
        if not small_uploads.rounded(layout, plan.upload_bits):
            raise errors.PfrecError(
                f"--upload_bits={plan.upload_bits} with {algorithm.name}: nothing that is trained "
                "leaves; leave --upload_bits out"
            )
        client = small_uploads.SmallUploads(client, plan.upload_bits)
    if plan.secure_sums:
        if not layout.uploaded:
            raise errors.PfrecError(
                f"--secure_sums with {algorithm.name}: nothing leaves; leave it out"
            )
        client = summed_uploads.SummedUploads(client, tuple(tasks))
    return dataclasses.replace(algorithm, client=client)


def _check_shared(algorithm: base.Algorithm, schema: schema_lib.Schema) -> None:
    for feature in schema.categorical:
        if feature.table:
            continue  # its ids are those of another
        if feature.encoding == "local_vocabulary" and algorithm.policy.shares(
            f"embedding/{feature.name}"
        ):
            raise errors.PfrecError(
                f"embedding/{feature.name} is to be shared, but its ids mean something else at "
                "every client (local_vocabulary); "
                f"add embedding/{feature.name}=private after the rule that shares it"
            )
