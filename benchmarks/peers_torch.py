"""The peers of `peers.py` that are PyTorch's, in a Python of their own, where pfrec need not be.

    python benchmarks/peers_torch.py loop|flower|pfl WORK.npz

The model is that of `pfrec.models.mmoe` without template, dropout and normalised towers, from the
initial values in WORK.npz; it speaks as `peers_protocol` says.
"""

import os
import sys

import numpy as np
import peers_protocol

try:
    import torch
except ModuleNotFoundError:
    sys.exit(
        "peers_torch.py runs in a Python that has PyTorch: give it to peers.py as "
        "--torch_python, --flower_python or --pfl_python"
    )

_RATE = 1e-3


class MMoE(torch.nn.Module):
    """Logits of all tasks, [rows, tasks]; methods as pfl-research wants them."""

    def __init__(self, values: "dict[str, np.ndarray]") -> None:
        super().__init__()
        self.cards = [int(n) for n in values["cardinalities"]]
        self.experts, self.tasks = int(values["experts"]), int(values["tasks"])
        dim, numbers = int(values["embedding_dim"]), int(values["numbers"])
        linear, norm = torch.nn.Linear, torch.nn.BatchNorm1d
        width = dim * len(self.cards) + int(values["numeric_dim"])
        units = [width, *map(int, values["expert_units"])]
        hidden = [units[-1], *map(int, values["tower_units"])]

        def stack(sizes: "list[int]", normalised: bool) -> torch.nn.Sequential:
            layers: list[torch.nn.Module] = []
            for a, b in zip(sizes, sizes[1:]):
                layers.append(linear(a, b))
                if normalised:
                    layers.append(norm(b, eps=1e-3, momentum=0.1))
                layers.append(torch.nn.ReLU())
            return torch.nn.Sequential(*layers)

        self.tables = torch.nn.ModuleList(torch.nn.Embedding(n, dim) for n in self.cards)
        self.normalise = norm(numbers, eps=1e-3, momentum=0.1, affine=False)
        self.project = linear(numbers, int(values["numeric_dim"]))
        self.blocks = torch.nn.ModuleList(stack(units, True) for _ in range(self.experts))
        self.gates = torch.nn.ModuleList(linear(width, self.experts) for _ in range(self.tasks))
        self.towers = torch.nn.ModuleList(
            torch.nn.Sequential(*stack(hidden, False), linear(hidden[-1], 1))
            for _ in range(self.tasks)
        )
        # In pfrec's order of variables, kernels lying the other way round.
        weights = [values[f"initial/{i:04d}"] for i in range(int(values["variables"]))]
        own = [t.weight for t in self.tables]
        own += [self.normalise.running_mean, self.normalise.running_var]
        own += [self.project.weight, self.project.bias]
        for block in self.blocks:
            for layer in block:
                if isinstance(layer, torch.nn.Linear):
                    own += [layer.weight, layer.bias]
                elif isinstance(layer, torch.nn.BatchNorm1d):
                    own += [layer.weight, layer.bias, layer.running_mean, layer.running_var]
        for module in (*self.gates, *self.towers):
            for layer in module.modules():
                if isinstance(layer, torch.nn.Linear):
                    own += [layer.weight, layer.bias]
        tables = {id(t.weight) for t in self.tables}
        if len(own) != len(weights):
            raise SystemExit(f"{len(weights)} initial values for {len(own)} variables")
        with torch.no_grad():
            for target, value in zip(own, weights):
                turned = value.T if value.ndim == 2 and id(target) not in tables else value
                target.copy_(torch.from_numpy(np.ascontiguousarray(turned)))

    def forward(self, ids: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        parts = [table(ids[:, i]) for i, table in enumerate(self.tables)]
        x = torch.cat([*parts, self.project(self.normalise(numbers))], 1)
        together = torch.stack([block(x) for block in self.blocks], 1)
        logits = []
        for gate, tower in zip(self.gates, self.towers):
            mixed = (torch.softmax(gate(x), 1).unsqueeze(1) @ together).squeeze(1)
            logits.append(tower(mixed).squeeze(1))
        return torch.stack(logits, 1)

    def loss(self, ids: torch.Tensor, numbers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        return entropy(self(ids, numbers), labels, reduction="none").mean(0).sum()

    def metrics(self, *_: torch.Tensor) -> "dict[str, float]":
        return {}


def clients(values: "dict[str, np.ndarray]") -> "list[tuple[torch.Tensor, ...]]":
    """Ids, numbers and labels of each client."""
    return [
        (
            torch.from_numpy(values["ids"][i].astype(np.int64)),
            torch.from_numpy(values["numerical"][i]),
            torch.from_numpy(values["labels"][i].astype(np.float32)),
        )
        for i in range(len(values["ids"]))
    ]


def train(model: MMoE, optimizer: torch.optim.Optimizer, rows: "tuple[torch.Tensor, ...]") -> None:
    """An epoch of whole batches."""
    model.train()
    for start in range(0, len(rows[0]) - BATCH + 1, BATCH):
        optimizer.zero_grad()
        model.loss(*(part[start : start + BATCH] for part in rows)).backward()
        optimizer.step()


def loop(values: "dict[str, np.ndarray]", gate: peers_protocol.Gate) -> None:
    """Clients one after the other, and the mean of their values."""
    rows, model = clients(values), MMoE(values)
    optimizers = [torch.optim.Adam(model.parameters(), _RATE, eps=1e-7) for _ in rows]
    while gate.wait():
        begun = {name: value.clone() for name, value in model.state_dict().items()}
        trained = []
        for own, optimizer in zip(rows, optimizers):
            model.load_state_dict(begun)
            train(model, optimizer, own)
            trained.append({name: value.clone() for name, value in model.state_dict().items()})
        model.load_state_dict(
            {name: torch.stack([t[name].float() for t in trained]).mean(0) for name in begun}
        )
        gate.done()


def flower(values: "dict[str, np.ndarray]", gate: peers_protocol.Gate) -> None:
    """Flower's simulation: its FedAvg, an actor for each processor."""
    from flwr.client import ClientApp, NumPyClient
    from flwr.common import ndarrays_to_parameters
    from flwr.server import ServerApp, ServerAppComponents, ServerConfig
    from flwr.server.strategy import FedAvg
    from flwr.simulation import run_simulation

    class Client(NumPyClient):
        def __init__(self, number: int) -> None:
            self.number = number

        def fit(self, parameters: "list[np.ndarray]", config: object) -> object:
            torch.set_num_threads(1)
            held = np.load(path)
            held = {name: held[name] for name in held.files}
            model = MMoE(held)
            state = model.state_dict()
            model.load_state_dict(
                {name: torch.from_numpy(np.array(v)) for name, v in zip(state, parameters)}
            )
            rows = clients(held)[self.number]
            train(model, torch.optim.Adam(model.parameters(), _RATE, eps=1e-7), rows)
            return [v.numpy() for v in model.state_dict().values()], len(rows[0]), {}

    class Strategy(FedAvg):
        def configure_fit(self, *given: object, **named: object) -> object:
            if not gate.wait():
                os._exit(0)
            return super().configure_fit(*given, **named)

        def aggregate_fit(self, *given: object, **named: object) -> object:
            found = super().aggregate_fit(*given, **named)
            gate.done()
            return found

    path = os.path.abspath(sys.argv[2])
    first = [v.numpy() for v in MMoE(values).state_dict().values()]
    count = len(values["ids"])

    def make_server(context: object) -> object:
        strategy = Strategy(
            fraction_fit=1.0,
            fraction_evaluate=0.0,
            min_fit_clients=count,
            min_available_clients=count,
            initial_parameters=ndarrays_to_parameters(first),
        )
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=10_000))

    def make_client(context: object) -> object:
        number = int(context.node_config["partition-id"])  # type: ignore[attr-defined]
        return Client(number).to_client()

    run_simulation(
        ServerApp(server_fn=make_server),
        ClientApp(client_fn=make_client),
        num_supernodes=count,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


def pfl(values: "dict[str, np.ndarray]", gate: peers_protocol.Gate) -> None:
    """pfl-research's simulation: its FedAvg."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.pytorch import PyTorchTensorDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam.base import NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    class Asked(TrainingProcessCallback):
        def on_train_begin(self, *, model: object) -> object:
            gate.wait()
            return Metrics()

        def after_central_iteration(self, metrics: object, model: object, **_: object) -> object:
            gate.done()
            return not gate.wait(), Metrics()

    module = MMoE(values)
    rows = clients(values)
    whole = [tuple(part[: len(part) // BATCH * BATCH] for part in own) for own in rows]
    numbers = list(range(len(whole)))
    data = FederatedDataset(
        lambda number: PyTorchTensorDataset(whole[number], user_id=str(number)),
        get_user_sampler("minimize_reuse", numbers),
    )
    FederatedAveraging().run(
        backend=SimulatedBackend(training_data=data, val_data=data),
        model=PyTorchModel(
            module,
            lambda parameters, lr: torch.optim.Adam(parameters, lr, eps=1e-7),
            torch.optim.SGD(module.parameters(), 1.0),
        ),
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=10_000,
            evaluation_frequency=1 << 30,
            train_cohort_size=len(whole),
            val_cohort_size=0,
        ),
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=_RATE, local_batch_size=BATCH
        ),
        callbacks=[Asked()],
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("a part of peers.py")
    GATE = peers_protocol.Gate()
    file = np.load(sys.argv[2])
    VALUES = {name: file[name] for name in file.files}
    BATCH = int(VALUES["batch"])
    MODEL = MMoE(VALUES).eval()
    with torch.no_grad():
        LOSS = MODEL.loss(*(part[:BATCH] for part in clients(VALUES)[0]))
    GATE.ready(float(LOSS))
    {"loop": loop, "flower": flower, "pfl": pfl}[sys.argv[1]](VALUES, GATE)
