"""What is told of a training before anything of it begins."""

from pfrec import errors
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import trainable
from pfrec.models import precision
from tff_process import plan as plan_lib
from tff_process.algorithms import registry
from tff_process.process import asked_plan, plan_values
from tff_process.runtime import options as options_lib
from tff_process.training import continuing, runtimes


def check_given(plan: object, dataset: object) -> None:
    """Checks that a program hands over a plan and a dataset.

    Raises:
      PfrecError: where one is something else, as a name or a path.
    """
    errors.require_kind(
        plan, plan_lib.Plan, "the plan", 'give a pfrec.Plan, as pfrec.Plan("pf_msmtrec")'
    )
    errors.require_kind(
        dataset, dataset_lib.Dataset, "the dataset", 'give what pfrec.Dataset.open("data") returns'
    )


def check(plan: plan_lib.Plan, dataset: dataset_lib.Dataset, options: options_lib.Options) -> None:
    """Checks a training, new or resumed.

    Args:
      plan: what to do, with a precision that is not automatic.
      dataset: on what.
      options: how it is executed.

    Raises:
      PfrecError: where the algorithm is unknown, nothing can be learned of a scenario, a weight is
        of none, or the plan does not go with the options or the processor.
    """
    if isinstance(plan.algorithm, str):
        registry.check(plan.algorithm)
    # Of silos' rows each silo alone knows the classes, and looks at them itself.
    trainable.require(dataset, classes=not options.workers)
    plan_values.require_known(plan, dataset.scenarios, [task.name for task in dataset.schema.tasks])
    if not options.workers:
        precision.check(plan.precision)
    if not plan.pooled:
        runtimes.require_together(plan, options)


def check_new(
    plan: plan_lib.Plan, dataset: dataset_lib.Dataset, options: options_lib.Options
) -> None:
    """Checks what a run may be begun with besides; one that is resumed keeps what it has.

    Raises:
      PfrecError: where it goes on from a run that it cannot go on from, or the plan does not go
        with the schema (`asked_plan.check`).
    """
    if plan.continues:
        continuing.check(plan, dataset, bool(options.workers))
    if not plan.pooled:
        asked_plan.check(plan, dataset.schema)
