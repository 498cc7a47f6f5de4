"""A federated process by hand: TFF's `initialize` and `next`, the clients' states going around.

python examples/federated_process.py [DIRECTORY]
"""

import pathlib
import sys

import tensorflow_federated as tff

import pfrec
from pfrec.data import synthetic
from tff_process.process import reference
from tff_process.runtime import reference_context


def main(folder: pathlib.Path, rounds: int = 3) -> None:
    synthetic.generate(folder / "synthetic", scenarios=2, rows=600)
    data = pfrec.Dataset.open(folder / "synthetic")
    plan = pfrec.Plan("fedavg", aggregations=1, batch_size=64)
    with reference_context.Worker(folder / "worker.log") as worker:
        with tff.framework.get_context_stack().install(worker.context()):
            training = reference.FederatedTraining(plan, data)
            process = training.process.iterative
            print(process.next.type_signature.compact_representation()[:100], "...")
            state = process.initialize()
            clients = training.clients(0)
            for number in range(rounds):
                # What a client keeps comes back to it alone: the server's state does not hold it.
                state, kept, report = process.next(state, clients)
                for client, private in zip(clients, kept):
                    client["private"] = private
                    client["work"]["first_step"] += client["work"]["steps"]
                losses = ", ".join(f"{loss:.3f}" for loss in report["loss"])
                print(f"round {number + 1}: loss {losses}")
            assert int(state["round"]) == rounds


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
