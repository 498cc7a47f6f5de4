"""The flags of a training, shared by `pfrec-train` and `pfrec-compare`."""

import contextlib
from typing import TYPE_CHECKING, Any

from absl import flags

from pfrec import errors
from pfrec import sharing as sharing_lib
from tff_process.commands import presets, rival_flags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tff_process import plan as plan_lib
    from tff_process.runtime import options as options_lib


_OF_A_PLAN: "set[str]" = set()


def define(*, silos: bool = False) -> None:
    """Defines the flags; called by a command's module once.

    Args:
      silos: whether --workers may take the place of --data.
    """
    flags.DEFINE_string(
        "data",
        None,
        "A directory that pfrec-convert wrote, or 'synthetic' for built-in data.",
        required=not silos,
    )
    if silos:
        define_silos()
    flags.DEFINE_integer("synthetic_scenarios", 4, "Scenarios of --data=synthetic.", lower_bound=1)
    flags.DEFINE_integer(
        "synthetic_rows",
        40_000,
        "Training and valid rows of the largest scenario of --data=synthetic.",
        lower_bound=500,
    )
    flags.DEFINE_float(
        "synthetic_shared",
        0.5,
        "Part of the signal of --data=synthetic that all scenarios share.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_string("output", None, "The directory to write.", required=True)
    define_plan()
    define_runtime()


def define_plan() -> None:
    """Defines the flags of `plan`, which takes the algorithm and the seed apart."""
    before = set(flags.FLAGS)
    _define_settings()
    _OF_A_PLAN.update(set(flags.FLAGS) - before)
    flags.DEFINE_multi_string(
        "sharing",
        [],
        "GROUP=shared or GROUP=private, over the algorithm's policy; GROUP may hold * (as "
        "gate/*=shared). Repeatable.",
    )
    flags.DEFINE_enum(
        "robust",
        "none",
        ["none", "norm", "winsorize", "median"],
        "How far a client's update may differ from what is usual among the clients: a bound on its "
        "norm, each coordinate within the range of the middle ones, or their median.",
    )
    flags.DEFINE_multi_enum(
        "withhold",
        [],
        ["loss", "metrics", "row_counts"],
        "What clients do not say: the loss of their training, their metrics (the last round is "
        "then the chosen one), or the coarse counts of ids "
        "of shared tables (which then count alike). Repeatable.",
    )


def _define_settings() -> None:
    flags.DEFINE_enum(
        "preset",
        presets.NONE,
        list(presets.PRESETS),
        "Defaults of other flags: paper, PF-MSMTRec as its source describes it "
        "(docs/algorithms.md).",
    )
    flags.DEFINE_integer("rounds", 20, "Rounds of training.", lower_bound=1)
    flags.DEFINE_integer(
        "patience",
        0,
        "Stop after so many rounds without a better one on valid; 0 trains all --rounds.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "local_epochs",
        1.0,
        "Share of its rows that a client trains on in a round; may be a fraction.",
        lower_bound=1e-6,
    )
    flags.DEFINE_integer(
        "aggregations",
        4,
        "How often a federated round aggregates at least: its local training is cut into as many "
        "aggregation steps, or fewer where a client has fewer "
        "batches.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "aggregate_every",
        64,
        "The most batches between two aggregations, for the mean client: long rounds aggregate "
        "more than --aggregations times.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "average_over",
        0.25,
        "What is evaluated, saved and exported is averaged over this share of the aggregations so "
        "far, the last ones; 0: the last alone.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_integer(
        "max_steps",
        0,
        "Rounds end once the client with most rows has trained so many batches; 0: all --rounds.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "batch_size",
        0,
        "Rows of a batch; 0: 32 to 256, so that the mean scenario has 20 batches of them.",
        lower_bound=0,
    )
    flags.DEFINE_float("learning_rate", 2e-2, "Step size of Adam.", lower_bound=0.0)
    flags.DEFINE_bool(
        "lazy_adam",
        False,
        "Federated clients leave rows of large tables as they are in steps whose batch did not "
        "hold them: faster on wide tables, and "
        "another algorithm than Adam.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16"],
        "Of federated clients' large products in training, on processors that have bfloat16 "
        "products; evaluation is always in float32.",
    )
    flags.DEFINE_float(
        "participation",
        1.0,
        "Share of the clients that take part in a round.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_integer("embedding_dim", 8, "Width of the embedding tables.", lower_bound=1)
    flags.DEFINE_float(
        "embedding_scale", 0.05, "Standard deviation of the initial embeddings.", lower_bound=0.0
    )
    flags.DEFINE_integer(
        "numeric_dim",
        16,
        "Width of the projection of numerical features; 0 for none.",
        lower_bound=0,
    )
    flags.DEFINE_integer("experts", 4, "Experts.", lower_bound=1)
    flags.DEFINE_list("expert_units", ["64", "32"], "Widths of an expert's layers.")
    flags.DEFINE_list("tower_units", ["32"], "Widths of a tower's hidden layers.")
    flags.DEFINE_float("dropout", 0.0, "Dropout rate.", lower_bound=0.0, upper_bound=0.99)
    flags.DEFINE_bool("batch_norm", True, "Batch normalisation in experts and towers.")
    flags.DEFINE_enum(
        "template",
        "none",
        ["none", "additive", "hadamard"],
        "Composition of the parameter template.",
    )
    flags.DEFINE_integer("rank", 4, "Rank of the template's task components.", lower_bound=1)
    flags.DEFINE_enum(
        "coordination",
        "conflict_averse",
        ["none", "mean", "pcgrad", "conflict_averse"],
        "pf_msmtrec: how updates of experts are joined.",
    )
    flags.DEFINE_float(
        "conflict_radius",
        0.4,
        "pf_msmtrec: c of conflict-averse coordination.",
        lower_bound=0.0,
        upper_bound=0.999,
    )
    flags.DEFINE_float(
        "temperature", 1.0, "pf_msmtrec: tau of the attention between clients.", lower_bound=1e-6
    )
    flags.DEFINE_bool(
        "log_counts", False, "pf_msmtrec: attention also weighs clients by their rows."
    )
    flags.DEFINE_bool(
        "weigh_by_rows", True, "pf_msmtrec: a client's update of an expert counts by its rows."
    )
    flags.DEFINE_float(
        "mu",
        0.25,
        "pf_msmtrec: how much of an expert comes from the aggregation at least.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "tower_mu", 0.25, "pf_msmtrec: the same of a tower.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_float(
        "gate_mu",
        0.25,
        "pf_msmtrec: the same of a gate; 0 keeps gates private.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "numeric_mu",
        0.25,
        "pf_msmtrec: the same of the projection of numerical features; 0 keeps it private.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "rows_prior",
        5_000.0,
        "pf_msmtrec: how many rows a client must have to keep half of what mu leaves to it of "
        "experts, towers, gates and the numerical "
        "projection; with fewer it takes more from the others. 0 leaves every client all of that.",
        lower_bound=0.0,
    )
    flags.DEFINE_float(
        "proximal", 0.0, "pf_msmtrec: weight of the pull towards the template.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "server_step",
        1.0,
        "pf_msmtrec: how far the server's values go towards the aggregated ones; 1 is all the way.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "table_prior",
        2000.0,
        "pf_msmtrec: how often in an epoch a client must meet a row of a shared embedding table "
        "for the row to follow its own training half; 0 "
        "keeps one table for all.",
        lower_bound=0.0,
    )
    rival_flags.define()


def define_runtime() -> None:
    """Defines the flags of `options`."""
    flags.DEFINE_integer(
        "max_concurrent_clients",
        0,
        "Clients that train at once; 0 takes what processors and memory bear.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "runtime",
        "resident",
        ["resident", "reference"],
        "resident: private state stays in the clients' workers; reference: pure TFF.",
    )
    flags.DEFINE_integer(
        "local_workers",
        1,
        "Worker processes that the clients of a simulation are split over.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "client_timeout",
        3600.0,
        "Seconds that a call on a worker may take before it counts as hung; 0 for no limit.",
        lower_bound=0.0,
    )
    flags.DEFINE_enum(
        "on_client_failure",
        "retry",
        ["retry", "skip", "stop"],
        "What to do where a client's worker dies, hangs or fails: try it again (up to three "
        "times), let it miss the round, or stop.",
    )
    flags.DEFINE_integer(
        "min_clients", 1, "A round with fewer accepted clients is not applied.", lower_bound=1
    )
    flags.DEFINE_float(
        "max_update_norm",
        3.0,
        "An update more than this many times as large as is usual in the round, for the batches "
        "behind it, is refused; 0 for no bound.",
        lower_bound=0.0,
    )
    flags.DEFINE_bool(
        "clip_updates",
        False,
        "Scale an update beyond --max_update_norm down to it instead of refusing it.",
    )
    flags.DEFINE_integer(
        "keep_rounds", 2, "Complete rounds that are kept, besides the best ones.", lower_bound=1
    )


def define_silos() -> None:
    """Defines the flags of a training over silos."""
    flags.DEFINE_list(
        "workers",
        [],
        "In place of --data: SCENARIO=HOST:PORT of each silo's pfrec-worker, as "
        "nl=10.0.0.2:7000,fr=10.0.0.3:7000.",
    )
    flags.DEFINE_string(
        "tls",
        None,
        "With --workers: a directory of the driver's ca.pem, certificate.pem and key.pem, for "
        "the tunnels.",
    )
    flags.DEFINE_float(
        "silo_timeout",
        60.0,
        "Seconds to try to reach a silo that is away; then the client misses the round "
        "(--on_client_failure=skip) or the run stops.",
        lower_bound=0.0,
    )


def options() -> "options_lib.Options":
    """How the flags ask for the training to be executed.

    Raises:
      PfrecError: where those of silos do not fit together.
    """
    import pathlib

    from tff_process.runtime import options as options_lib
    from tff_process.silos import addresses, tunnel

    f = flags.FLAGS
    silos: dict[str, Any] = {}
    if "workers" in f and f.workers:
        if f.data:
            raise errors.PfrecError(
                "--data and --workers: give one of them; silos have their own data"
            )
        if f.runtime != options_lib.RESIDENT:
            raise errors.PfrecError(
                f"--runtime={f.runtime}: moves private states through the driver; silos "
                "need resident"
            )
        silos = {
            "workers": addresses.parse_workers(f.workers),
            "tls": pathlib.Path(f.tls) if f.tls else None,
            "silo_timeout": f.silo_timeout,
        }
        tunnel.to_silos(silos["workers"], silos["tls"])
    elif "workers" in f and not f.data:
        raise errors.PfrecError(
            "give --data, a directory that pfrec-convert wrote or 'synthetic', or --workers; "
            "--help lists the flags"
        )
    return options_lib.Options(
        runtime=f.runtime,
        max_concurrent_clients=f.max_concurrent_clients,
        local_workers=f.local_workers,
        client_timeout=f.client_timeout or None,
        on_client_failure=f.on_client_failure,
        min_clients=f.min_clients,
        max_update_norm=f.max_update_norm,
        clip_updates=f.clip_updates,
        keep_rounds=f.keep_rounds,
        **silos,
    )


def synthetic() -> "dict[str, Any]":
    """The arguments of `synthetic.generate` that the flags ask for, but for the seed."""
    f = flags.FLAGS
    return {
        "scenarios": f.synthetic_scenarios,
        "rows": f.synthetic_rows,
        "shared": f.synthetic_shared,
    }


@contextlib.contextmanager
def _with(settings: "Sequence[tuple[str, str]]") -> "Iterator[None]":
    """Gives flags other values for a while.

    Raises:
      PfrecError: where one is none of a plan's flags, or a value is none of its.
    """
    given = {name: flags.FLAGS[name].value for name, _ in settings if name in _OF_A_PLAN}
    try:
        for name, text in settings:
            if name not in _OF_A_PLAN:
                raise errors.PfrecError(f"{name}={text}: {name} is no flag of a training")
            try:
                flags.FLAGS[name].value = flags.FLAGS[name].parser.parse(text)
                flags.FLAGS.validate_all_flags()
            except (flags.Error, ValueError) as error:
                raise errors.PfrecError(f"{name}={text}: {error}") from error
        yield
    finally:
        for name, value in given.items():
            flags.FLAGS[name].value = value


def plan(
    algorithm: str,
    seed: int,
    sharing: "tuple[tuple[str, str], ...]" = (),
    settings: "Sequence[tuple[str, str]]" = (),
) -> "plan_lib.Plan":
    """The plan that the flags describe.

    Args:
      algorithm: by name.
      seed: of the run.
      sharing: rules that go over the algorithm's policy and `--sharing`.
      settings: names and texts of flags that go over those given.

    Raises:
      PfrecError: where a value does not fit.
    """
    own = dict(settings)
    preset = presets.PRESETS.get(
        own.get("preset", flags.FLAGS.preset), {}
    )  # an unknown name is refused below
    under = [
        (name, text)
        for name, text in preset.items()
        if name not in own and flags.FLAGS[name].using_default_value
    ]
    with _with([*under, *settings]):
        return _plan(algorithm, seed, sharing)


def _plan(algorithm: str, seed: int, sharing: "tuple[tuple[str, str], ...]") -> "plan_lib.Plan":
    from pfrec.models.config import ModelConfig
    from tff_process import plan as plan_lib
    from tff_process.algorithms import pf_msmtrec

    f = flags.FLAGS
    return plan_lib.Plan(
        algorithm=algorithm,
        rounds=f.rounds,
        patience=f.patience,
        local_epochs=f.local_epochs,
        aggregations=f.aggregations,
        aggregate_every=f.aggregate_every,
        average_over=f.average_over,
        max_steps=f.max_steps,
        batch_size=f.batch_size,
        learning_rate=f.learning_rate,
        lazy_adam=f.lazy_adam,
        precision=f.precision,
        participation=f.participation,
        seed=seed,
        model=ModelConfig(
            embedding_dim=f.embedding_dim,
            embedding_scale=f.embedding_scale,
            numeric_dim=f.numeric_dim,
            experts=f.experts,
            expert_units=_widths("expert_units"),
            tower_units=_widths("tower_units"),
            dropout=f.dropout,
            batch_norm=f.batch_norm,
            template=f.template,
            rank=f.rank,
        ),
        pf=pf_msmtrec.Settings(
            coordination=f.coordination,
            conflict_radius=f.conflict_radius,
            temperature=f.temperature,
            log_counts=f.log_counts,
            weigh_by_rows=f.weigh_by_rows,
            mu=f.mu,
            tower_mu=f.tower_mu,
            gate_mu=f.gate_mu,
            numeric_mu=f.numeric_mu,
            rows_prior=f.rows_prior,
            proximal=f.proximal,
            server_step=f.server_step,
            table_prior=f.table_prior,
        ),
        fedprox_mu=f.fedprox_mu,
        rivals=rival_flags.settings(),
        robust=f.robust,
        withhold=tuple(sorted(set(f.withhold))),
        sharing=(*(sharing_lib.parse(text, "sharing") for text in f.sharing), *sharing),
    )


def _widths(name: str) -> "tuple[int, ...]":
    try:
        return tuple(int(text) for text in flags.FLAGS[name].value)
    except ValueError:
        raise errors.PfrecError(
            f"--{name}={','.join(flags.FLAGS[name].value)}: give whole numbers, as 64,32"
        ) from None
