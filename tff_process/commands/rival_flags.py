"""The flags of the baselines' hyperparameters."""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from tff_process.algorithms import rivals


def define() -> None:
    """Defines the flags; called once, with those of the training."""
    flags.DEFINE_float(
        "fedprox_mu",
        0.01,
        "fedprox: weight of the pull towards the values received; 0 is fedavg.",
        lower_bound=0.0,
    )
    flags.DEFINE_integer(
        "fedrep_head_passes",
        1,
        "fedrep: passes over a round's batches for the head.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "fedbabu_head_passes",
        1,
        "fedbabu: passes over a round's batches for the client's own head.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "mr_mtl_lambda",
        0.01,
        "mr_mtl: weight of the pull towards the mean of all; 0 is local.",
        lower_bound=0.0,
    )
    flags.DEFINE_float(
        "ditto_lambda",
        0.1,
        "ditto: weight of the pull of the personal model; 0 is local.",
        lower_bound=0.0,
    )
    flags.DEFINE_float(
        "pfedme_lambda", 0.1, "pfedme: weight of the pull of the personal model.", lower_bound=0.0
    )
    flags.DEFINE_integer(
        "pfedme_steps", 5, "pfedme: steps on the personal model for each batch.", lower_bound=1
    )
    flags.DEFINE_float(
        "pfedme_outer",
        0.5,
        "pfedme: how far the global model follows, eta times lambda.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "pfedme_beta",
        1.0,
        "pfedme: how far the server goes towards the clients' mean.",
        lower_bound=0.0,
    )
    flags.DEFINE_float(
        "apfl_alpha",
        0.5,
        "apfl: share of the client's own model at first.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "apfl_rate", 0.1, "apfl: step size of that share; 0 keeps it.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "fedamp_alpha",
        0.5,
        "fedamp: how much a client takes from others at most.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "fedamp_sigma",
        1.0,
        "fedamp: reach of the attention, in mean squared distances.",
        lower_bound=1e-6,
    )
    flags.DEFINE_float(
        "fedamp_proximal",
        1e-4,
        "fedamp: weight of the pull towards the received mixture.",
        lower_bound=0.0,
    )
    flags.DEFINE_list(
        "fedala_kinds", ["tower"], "fedala: kinds of variables that are merged; empty is fedavg."
    )
    flags.DEFINE_float(
        "fedala_rate", 1.0, "fedala: step size of the merge's weights.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "fedala_share",
        0.8,
        "fedala: share of the batches that they are learned on.",
        lower_bound=1e-6,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "fedhca2_radius",
        0.4,
        "fedhca2: c of conflict-averse coordination.",
        lower_bound=0.0,
        upper_bound=0.999,
    )
    flags.DEFINE_float(
        "fedhca2_weight", 0.1, "fedhca2: hyper weights at first.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_float(
        "fedhca2_rate", 0.01, "fedhca2: step size of the hyper weights.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "server_rate", 0.03, "fedadam, fedyogi: step size at the server.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "server_beta_1",
        0.9,
        "fedadam, fedyogi: decay of the first moment.",
        lower_bound=0.0,
        upper_bound=0.999999,
    )
    flags.DEFINE_float(
        "server_beta_2",
        0.99,
        "fedadam, fedyogi: decay of the second moment.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_float(
        "server_tau", 1e-3, "fedadam, fedyogi: how adaptive; larger is less.", lower_bound=1e-12
    )


def settings() -> "rivals.Rivals":
    """The settings that the flags describe.

    Raises:
      PfrecError: where a value does not fit.
    """
    from tff_process.algorithms import (
        apfl,
        ditto,
        fedala,
        fedamp,
        fedbabu,
        fedhca2,
        fedrep,
        mr_mtl,
        pfedme,
        rivals,
        server_optimizer,
    )

    f = flags.FLAGS
    return rivals.Rivals(
        fedrep=fedrep.Settings(f.fedrep_head_passes),
        ditto=ditto.Settings(f.ditto_lambda),
        pfedme=pfedme.Settings(f.pfedme_lambda, f.pfedme_steps, f.pfedme_outer, f.pfedme_beta),
        apfl=apfl.Settings(f.apfl_alpha, f.apfl_rate),
        fedamp=fedamp.Settings(f.fedamp_alpha, f.fedamp_sigma, f.fedamp_proximal),
        fedala=fedala.Settings(
            tuple(kind for kind in f.fedala_kinds if kind), f.fedala_rate, f.fedala_share
        ),
        fedhca2=fedhca2.Settings(f.fedhca2_radius, f.fedhca2_weight, f.fedhca2_rate),
        fedbabu=fedbabu.Settings(f.fedbabu_head_passes),
        mr_mtl=mr_mtl.Settings(f.mr_mtl_lambda),
        server_optimizer=server_optimizer.Settings(
            f.server_rate, f.server_beta_1, f.server_beta_2, f.server_tau
        ),
    )
