"""What of a plan reaches clients as values that no graph holds: the learning rate of the moment,
and the weights of their loss.
"""

import math
from collections.abc import Sequence

from pfrec import loss_weights
from tff_process import plan as plan_lib


def learning_rate(plan: plan_lib.Plan, done: int, total: int) -> float:
    """The step size of aggregation step `done` (from 0) of a training of `total`.

    Formula: the rate rises in equal steps over the first `warmup * total` of them, then with x from
    0 to 1 over the others it is the plan's times

      constant: 1
      cosine: e + (1 - e) (1 + cos(pi x)) / 2, with e = `schedule_end`
      step: f^floor(p x), with f = `schedule_factor` and p = `schedule_parts`

    References:
      Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017;
      Goyal et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677 (gradual warm-up).
    """
    warm = plan.warmup * total
    if done + 1 < warm:
        return plan.learning_rate * (done + 1) / warm
    start = max(0.0, warm - 1.0)
    x = min(1.0, (done - start) / (total - start))
    if plan.schedule == plan_lib.COSINE:
        end = plan.schedule_end
        return plan.learning_rate * (end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * x)))
    if plan.schedule == plan_lib.STEP:
        return plan.learning_rate * plan.schedule_factor ** math.floor(plan.schedule_parts * x)
    return plan.learning_rate


def task_weights(plan: plan_lib.Plan, scenario: str, tasks: "Sequence[str]") -> "tuple[float, ...]":
    """What each task's loss is multiplied by in a scenario."""
    return loss_weights.of(plan.task_weights, "task_weights", scenario, tasks)


def positive_weights(
    plan: plan_lib.Plan, scenario: str, tasks: "Sequence[str]"
) -> "tuple[float, ...]":
    """How often each positive row counts in its task's loss in a scenario."""
    return loss_weights.of(plan.positive_weights, "positive_weights", scenario, tasks)


def require_known(plan: plan_lib.Plan, scenarios: "Sequence[str]", tasks: "Sequence[str]") -> None:
    """Checks the names in the plan's weights.

    Raises:
      PfrecError: where one is no scenario or task.
    """
    loss_weights.require_known(plan.task_weights, "task_weights", scenarios, tasks)
    loss_weights.require_known(plan.positive_weights, "positive_weights", scenarios, tasks)
