"""What a training is to do, as data."""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from pfrec import errors
from pfrec import settings as settings_lib
from pfrec.models.config import ModelConfig
from pfrec.settings import setting
from tff_process import plan_checks, plan_records
from tff_process.algorithms import base, registry
from tff_process.algorithms import robust as robust_lib
from tff_process.client import strategy
from tff_process.plan_checks import LOSS as LOSS
from tff_process.plan_checks import METRICS as METRICS
from tff_process.plan_checks import ROW_COUNTS as ROW_COUNTS
from tff_process.plan_checks import WITHHELD as WITHHELD
from tff_process.privacy import soundness

_BATCHES, _NOISED_BATCHES = 20, 3
CONSTANT, COSINE, STEP = "constant", "cosine", "step"
SCHEDULES = (CONSTANT, COSINE, STEP)
AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
PRECISIONS = (AUTO, FLOAT32, BFLOAT16)
NEWCOMERS = "local"  # The algorithm of a scenario that joins a finished run.


@dataclasses.dataclass(frozen=True)
class Plan(settings_lib.Settings):
    """What a training is to do; what a setting is, its help says.

        >>> import pfrec
        >>> plan = pfrec.Plan("fedavg", rounds=5)
        >>> plan.batch_size, pfrec.Plan.from_json(plan.to_json()) == plan
        (0, True)
        >>> pfrec.Plan("fedavg", rounds=0)
        Traceback (most recent call last):
        pfrec.errors.PfrecError: rounds is 0; it must be at least 1

    Attributes:
      algorithm: by name, see `algorithms.registry`, or an algorithm itself.
      model: shape of the model.
      settings: the algorithm's own; None for those as they are without any flag, or where it has
        none.
      seed: of initial values, row order, dropout and participation.
      sharing: rules that go over the algorithm's sharing policy.
      withhold: what clients do not say: `loss` of their training, `metrics` (the last round is then
        the chosen one, and nothing is known of it on test), `row_counts` (ids of shared tables then
        count alike). With `dp_epsilon` all three.
      init_from: a finished run whose common values the scenarios start from (see `joining`); empty
        for a start from `seed`.
      continues: whether all of that run goes on instead, on later data (see `continuing`).
    """

    algorithm: "Union[str, base.Algorithm]"
    rounds: int = setting(20, "rounds of federated training, epochs of pooled one", low=1)
    patience: int = setting(
        0, "rounds without a better one on valid after which training stops; 0 trains all", low=0
    )
    local_epochs: float = setting(
        1.0, "share of its rows that a client trains on in a round; may be a fraction", above=0.0
    )
    aggregations: int = setting(
        4,
        "how often a federated round aggregates at least: its local training is cut into as many "
        "aggregation steps, or fewer where a client has fewer batches",
        low=1,
    )
    aggregate_every: int = setting(
        64,
        "the most batches between two aggregations, for the median client: long rounds aggregate "
        "more than --aggregations times",
        low=1,
    )
    average_over: float = setting(
        0.25,
        "what is evaluated, saved and exported is averaged over this share of the aggregations so "
        "far, the last ones; 0 is the last alone",
        low=0.0,
        high=1.0,
    )
    max_steps: int = setting(
        0,
        "rounds end once the client with most rows has trained so many batches; 0 trains --rounds",
        low=0,
    )
    max_rows: int = setting(
        0,
        "rounds end once the client with most rows has trained on so many, in whole batches and "
        "counted anew in every epoch; 0 trains --rounds",
        low=0,
    )
    batch_size: int = setting(
        0,
        "rows of a batch; 0 takes 32 to 256, so that the mean scenario has 20 batches of them, and "
        "with --dp_epsilon up to 8,192, so that it has 3",
        low=0,
    )
    learning_rate: float = setting(2e-2, "step size of Adam", above=0.0)
    schedule: str = setting(
        CONSTANT,
        "how the step size changes over the training after --warmup: constant, cosine down to "
        "--schedule_end of it, or step: times --schedule_factor from one of --schedule_parts equal "
        "parts to the next",
        choices=SCHEDULES,
    )
    warmup: float = setting(
        0.0,
        "share of the training over which the step size rises to --learning_rate",
        low=0.0,
        below=1.0,
    )
    schedule_end: float = setting(
        0.0, "of a cosine schedule, what the step size goes down to", low=0.0, high=1.0
    )
    schedule_factor: float = setting(
        0.3, "of a step schedule, what the step size is multiplied by", above=0.0, high=1.0
    )
    schedule_parts: int = setting(3, "of a step schedule, how many step sizes there are", low=1)
    task_weights: str = setting(
        "",
        "what the loss of a task is multiplied by, 1 where not named: TASK=WEIGHT or "
        "SCENARIO/TASK=WEIGHT, several between commas or blanks",
    )
    positive_weights: str = setting(
        "",
        "how often a positive row counts in the loss of its task, written as --task_weights; "
        "probabilities are then of classes so balanced",
    )
    weight_decay: float = setting(
        plan_records.AS_THE_BUDGET,
        "decoupled weight decay of tables and of kernels that no batch normalisation follows, "
        "AdamW's but said for an epoch: with each step w loses w * step size * this / batches in "
        "an epoch, at most all of it; 0 for none, -1 is 30, and 0 with --dp_epsilon",
        low=plan_records.AS_THE_BUDGET,
    )
    lazy_adam: bool = setting(
        False,
        "federated clients leave rows of large tables as they are in steps whose batch did not "
        "hold them: faster on wide tables, and another algorithm than Adam",
    )
    precision: str = setting(
        FLOAT32,
        "of federated clients' large products in training, bfloat16 on processors that have such "
        "products; auto is bfloat16 where that is faster, decided when a run begins; evaluation is "
        "always in float32",
        choices=PRECISIONS,
    )
    participation: float = setting(
        1.0, "share of the clients that take part in a round", above=0.0, high=1.0
    )
    robust: str = setting(
        "none",
        "how far a client's update may differ from what is usual among the clients: a bound on its "
        "norm, each coordinate within the range of the middle ones, or their median; rounds and "
        "the spread are then chosen by the median of the clients' gains on valid",
        choices=robust_lib.CHOICES,
    )
    upload_bits: int = setting(
        strategy.FULL_BITS,
        "bits of each trained number that leaves a client, 8, 16 or 32: with 8 or 16 its change "
        "leaves rounded, and what rounding left out is added to its next change",
        low=8,
        high=32,
    )
    secure_sums: bool = setting(
        False,
        "whether the server learns of clients' updates their sum alone, by masks that cancel in it "
        "(docs/secure_sums.md); for algorithms whose server needs no more",
    )
    dp_epsilon: float = setting(
        0.0,
        "differential privacy of every training row in what leaves: the epsilon that a run may "
        "spend in each scenario; 0 is none (docs/differential_privacy.md)",
        low=0.0,
    )
    dp_delta: float = setting(
        0.0, "delta that goes with it; 0 is 1 / rows^1.1 of each scenario", low=0.0, below=1.0
    )
    dp_unit: str = setting(
        soundness.ROW,
        "what it protects: one row, or all rows of a group, as a user (`group` of the schema)",
        choices=soundness.UNITS,
    )
    dp_clip: float = setting(
        3.0, "the norm that the gradient of a row is clipped to for it", above=0.0
    )
    dp_sparse_rows: int = setting(
        0,
        "in tables of so many rows or more, those that a step met often get gradients and noise, "
        "and which these are is told with noise too; 0 gives noise to all rows of every table",
        low=0,
    )
    home_rate: float = setting(
        1e-2,
        "step size by which a client finishes what it serves, whatever --schedule says; three "
        "tenths of it from what it received",
        above=0.0,
        alias="dp_home_rate",
    )
    home_epochs: float = setting(
        plan_records.AS_THE_BUDGET,
        "at the end each client finishes what it serves on its own rows, without noise and without "
        "telling anybody: at most so many passes for each of three models, of which one is served "
        "(docs/algorithms.md); 0 serves what was received, -1 is 20 with --dp_epsilon and 0 "
        "without",
        low=plan_records.AS_THE_BUDGET,
        alias="dp_home_epochs",
    )
    seed: int = 0
    model: ModelConfig = ModelConfig()
    settings: Optional[settings_lib.Settings] = None
    sharing: "tuple[tuple[str, str], ...]" = ()
    withhold: "tuple[str, ...]" = ()
    init_from: str = ""
    continues: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.seed, numbers.Integral):
            object.__setattr__(self, "seed", int(self.seed))  # NumPy's would not become JSON
        for name in ("sharing", "withhold"):
            object.__setattr__(self, name, plan_checks.as_tuples(getattr(self, name)))
        plan_checks.check(self)
        if self.secure_sums:
            # Losses and counts of single clients tell of their rows what sums do not.
            told = [METRICS] if METRICS in self.withhold else []
            object.__setattr__(self, "withhold", (LOSS, *told, ROW_COUNTS))
        if self.dp_epsilon:
            # Nothing is said but what noise is in, and no layer reads two rows at once.
            object.__setattr__(self, "withhold", WITHHELD)
            object.__setattr__(self, "model", dataclasses.replace(self.model, batch_norm=False))
        if isinstance(self.algorithm, str):
            default = registry.default_settings(self.algorithm)
            if self.settings is None:
                object.__setattr__(self, "settings", default)
            if type(self.settings) is not type(default):
                raise errors.PfrecError(
                    f"settings of {self.name} are {type(self.settings).__qualname__}; "
                    f"they must be {type(default).__module__}.{type(default).__qualname__}"
                )

    def fitting(self, rows: "Sequence[int]") -> "Plan":
        """The plan with a batch size: where it has none, the largest power of two from 32 to 256 of
        which the mean scenario has at least 20 batches.

        With fewer batches an epoch is too few steps, and aggregation has nothing to aggregate
        often; smaller ones cost time. With `dp_epsilon` the largest up to 8,192 of which it has at
        least 3, since noise does not grow with a batch as the sum over its rows does.

        Args:
          rows: each scenario's training rows.
        """
        if self.batch_size:
            return self
        mean = sum(rows) / len(rows)
        sizes, bearable = (256, 128, 64), mean / _BATCHES
        if self.dp_epsilon:
            sizes, bearable = tuple(2**power for power in range(13, 5, -1)), mean / _NOISED_BATCHES
        return dataclasses.replace(
            self, batch_size=next((size for size in sizes if size <= bearable), 32)
        )

    def rounds_of(self, round_steps: int) -> int:
        """How many rounds a plan with a batch size (`fitting`) has at most, where the client with
        most rows trains so many batches in a round.
        """
        rounds = self.rounds
        for most, of_a_round in (
            (self.max_steps, round_steps),
            (self.max_rows, round_steps * self.batch_size),
        ):
            if most:
                rounds = min(rounds, -(-most // of_a_round))
        return rounds

    @property
    def passes_at_home(self) -> float:
        """How often at most a client goes over its rows for each model at the end."""
        return plan_records.following("home_epochs", self.home_epochs, self.dp_epsilon)

    @property
    def decay(self) -> float:
        """The weight decay of an epoch."""
        return plan_records.following("weight_decay", self.weight_decay, self.dp_epsilon)

    @property
    def finishes(self) -> bool:
        """Whether clients finish once the best round is known; under a budget nothing is known of
        any round, and they do in their last aggregation step.
        """
        return self.passes_at_home > 0 and not self.dp_epsilon

    @property
    def name(self) -> str:
        """The algorithm's name."""
        return self.algorithm if isinstance(self.algorithm, str) else self.algorithm.name

    @property
    def pooled(self) -> bool:
        """Whether it trains on the rows of all scenarios together."""
        return isinstance(self.algorithm, str) and registry.is_pooled(self.algorithm)

    def of_newcomer(self, run: str, shape: ModelConfig) -> "Plan":
        """The plan by which a scenario joins a finished run: by `NEWCOMERS`, in the shape of that
        run's model, from its values.
        """
        return dataclasses.replace(
            self, algorithm=NEWCOMERS, settings=None, model=shape, init_from=run
        )

    def with_texts(self, texts: "Sequence[tuple[str, str]]") -> "Plan":
        """The same with other settings, of the model and the algorithm too.

        Args:
          texts: flags and the texts of their values.

        Raises:
          PfrecError: where one is no setting of this plan or a value does not fit.
        """
        given = dict(texts)
        known = setting_names(self)
        for name, text in texts:
            if name not in known:
                raise errors.PfrecError(
                    f"{name}={text}: {name} is no flag of a training by {self.name}; "
                    f"it has {', '.join(sorted(known))}"
                )
        return dataclasses.replace(
            self.replaced(given),
            model=self.model.replaced(given),
            settings=self.settings.replaced(given) if self.settings else None,
        )

    def to_json(self) -> "dict[str, Any]":
        """Plain data for config.json."""
        return {
            **super().to_json(),
            "algorithm": self.name,
            "seed": self.seed,
            "model": self.model.to_json(),
            "settings": self.settings.to_json() if self.settings else None,
            "sharing": [list(rule) for rule in self.sharing],
            "withhold": list(self.withhold),
            "init_from": self.init_from,
            "continues": self.continues,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Plan":
        """The inverse of `to_json`, also after a trip through JSON; what is missing, or means
        nothing (`privacy_settings`), has its default, or what it was before it came
        (`plan_records.BEFORE`).

        Raises:
          PfrecError: where a name is unknown or a value does not fit.
        """
        value = meant(value)
        default = registry.default_settings(value["algorithm"])
        own = value.get("settings")
        return super().from_json(
            {
                **plan_records.BEFORE,
                **value,
                "model": ModelConfig.from_json(value.get("model", {})),
                "settings": default.from_json(own) if default and own is not None else None,
                "withhold": tuple(value.get("withhold", ())),
                "sharing": tuple((pattern, rule) for pattern, rule in value.get("sharing", ())),
            }
        )


def setting_names(plan: Plan) -> "set[str]":
    """The flags of all settings of a plan: of all trainings, the model and the algorithm's own."""
    own = settings_lib.names(type(plan.settings)) if plan.settings else set()
    return settings_lib.names(Plan) | settings_lib.names(ModelConfig) | own


def privacy_settings() -> "list[settings_lib.Setting]":
    """The settings that say how `dp_epsilon` is kept, and mean nothing without one."""
    return [
        one
        for one in settings_lib.of(Plan)
        if one.name.startswith("dp_") and one.name != "dp_epsilon"
    ]


def meant(record: "Mapping[str, Any]") -> "Mapping[str, Any]":
    """The record of a plan (`to_json`) without settings that mean nothing in it."""
    return plan_records.meant(record, [one.name for one in privacy_settings()])
