"""Which runtime a training runs in, and its making."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

import tensorflow_federated as tff

from pfrec import errors, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.client import strategy
from tff_process.privacy import charges
from tff_process.process import federation, reference
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import (
    calls,
    executor,
    hosts,
    private_network,
    reference_context,
    simulation,
    threads,
)
from tff_process.runtime import options as options_lib
from tff_process.silos import training as silo_training
from tff_process.training import pooled, privacy_manifest

POOLED, SILOS = "pooled", "silos"


def kind(plan: plan_lib.Plan, options: options_lib.Options) -> str:
    """The name of a training's runtime."""
    if plan.pooled:
        return POOLED
    return SILOS if options.workers else options.runtime


@contextlib.contextmanager
def start(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    cache: "Optional[cache_lib.ComputationCache]" = None,
) -> "Iterator[Any]":
    """A training that is up; see `loop.Training`. What it started is ended in any case.

    Raises:
      PfrecError: where a worker does not start or a silo cannot be reached.
    """
    if plan.pooled:
        with _pooled(plan, dataset, run, options, cache) as training:
            yield training
        return
    manifest = run.path / "privacy_manifest.json"
    with _FEDERATED[kind(plan, options)](plan, dataset, run, options, cache) as training:
        training.open_charges(run.path / charges.FILE)
        privacy_manifest.require_same_noise(manifest, training)
        privacy_manifest.write(manifest, training)
        yield training
        if training.charges is not None:
            privacy_manifest.write(manifest, training)


@contextlib.contextmanager
def _pooled(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    cache: "Optional[cache_lib.ComputationCache]",
) -> "Iterator[pooled.PooledTraining]":
    """In a worker, whose threads the plan decides, as those of a simulation's clients."""
    private_network.warn_if_open()
    log = run.path / "logs" / "worker.log"
    limit = options.deadline and options.deadline * len(dataset.scenarios)
    within = threads.within_operations(pooled.fitted(plan, dataset), dataset.schema)
    host = hosts.LocalHost(f"the worker with log {log}", log, 1, limit, within)
    try:
        host.begin()  # It comes up while graphs are traced.
        training = pooled.PooledTraining(
            plan, dataset, cache, lambda function: calls.WorkerFunction(host, function)
        )
        host.up()
        yield training
    finally:
        host.down()


def require_together(plan: plan_lib.Plan, options: options_lib.Options) -> None:
    """Checks that a plan can be trained in the way that options say.

    Raises:
      PfrecError: where it cannot; the message names both flags.
    """
    if plan.dp_epsilon and options.runtime == options_lib.REFERENCE:
        raise errors.PfrecError(
            "--dp_epsilon and --runtime=reference: does not see single answers, which are charged; "
            "take --runtime=resident"
        )
    for where, at in (
        ("--runtime=reference", options.runtime == options_lib.REFERENCE),
        ("--workers", bool(options.workers)),
    ):
        if plan.finishes and at:
            raise errors.PfrecError(
                f"--home_epochs and {where}: without --dp_epsilon clients finish in simulations by "
                "--runtime=resident alone; give --home_epochs=0"
            )
    if plan.upload_bits < strategy.FULL_BITS and options.runtime == options_lib.REFERENCE:
        raise errors.PfrecError(
            "--upload_bits and --runtime=reference: it brings reports to the server as one value, "
            "where nobody makes numbers of them again; take --runtime=resident"
        )
    if plan.secure_sums and options.runtime == options_lib.REFERENCE:
        raise errors.PfrecError(
            "--secure_sums and --runtime=reference: it brings reports to the server as they leave "
            "a client's graph, without masks; take --runtime=resident"
        )
    if plan.secure_sums and options.on_client_failure == options_lib.SKIP:
        raise errors.PfrecError(
            "--secure_sums and --on_client_failure=skip: a sum that one client is missing from "
            f"stays hidden; take retry or stop, and {executor.GO_ON} once it is back"
        )
    if plan.secure_sums and (
        options.clip_updates
        or options.max_update_norm not in (0.0, options_lib.Options().max_update_norm)
    ):
        raise errors.PfrecError(
            "--secure_sums and --max_update_norm or --clip_updates: the server sees no single "
            "update to judge; leave them out"
        )


@contextlib.contextmanager
def _reference(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    cache: "Optional[cache_lib.ComputationCache]",
) -> "Iterator[federation.Federation]":
    del cache  # it traces for its own context
    private_network.warn_if_open()
    log = run.path / "logs" / "worker.log"
    within = threads.within_operations(federation.fitted(plan, dataset), dataset.schema)
    with reference_context.Worker(log, options.max_concurrent_clients, within) as running:
        with tff.framework.get_context_stack().install(running.context()):
            yield reference.FederatedTraining(plan, dataset)


def _resident(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    cache: "Optional[cache_lib.ComputationCache]",
) -> "contextlib.AbstractContextManager[federation.Federation]":
    return simulation.resident_training(plan, dataset, run, options, cache)


def _silos(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    cache: "Optional[cache_lib.ComputationCache]",
) -> "contextlib.AbstractContextManager[federation.Federation]":
    del cache  # silos are trained in once
    return silo_training.silo_training(plan, dataset, run, options, run.identity)


_FEDERATED: "Mapping[str, Callable[..., contextlib.AbstractContextManager[Any]]]" = {
    options_lib.RESIDENT: _resident,
    options_lib.REFERENCE: _reference,
    SILOS: _silos,
}
