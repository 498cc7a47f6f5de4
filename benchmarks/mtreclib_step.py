"""Training steps of MTReclib's MMoE, for `local_training.py`: one step per line on standard input,
its seconds on standard output.

    python mtreclib_step.py MTRECLIB_DIRECTORY SHAPE_AS_JSON

It needs PyTorch and nothing of this project. The step is that of MTReclib's own main.py: mean of
the tasks' binary cross-entropies, Adam.
"""

import json
import sys
import time

import numpy as np

try:
    import torch
except ModuleNotFoundError:
    sys.exit(
        "mtreclib_step.py runs in a Python that has PyTorch: give it to local_training.py as "
        "--torch_python"
    )


def main() -> None:
    directory, shape = sys.argv[1], json.loads(sys.argv[2])
    sys.path.insert(0, directory)
    from models.mmoe import MMoEModel

    rng = np.random.default_rng(0)
    model = MMoEModel(
        [c + 1 for c in shape["cardinalities"]],
        shape["numbers"],
        shape["embedding_dim"],
        tuple(shape["expert_units"]),
        tuple(shape["tower_units"]),
        shape["tasks"],
        shape["experts"],
        shape["dropout"],
    )
    model.train()
    categorical = torch.tensor(
        np.stack([rng.integers(0, c, shape["batch"]) for c in shape["cardinalities"]], 1)
    )
    numerical = torch.tensor(
        rng.normal(size=(shape["batch"], shape["numbers"])), dtype=torch.float32
    )
    labels = torch.tensor(rng.random((shape["batch"], shape["tasks"])) < 0.2, dtype=torch.float32)
    criterion, optimizer = torch.nn.BCELoss(), torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in sys.stdin:
        start = time.perf_counter()
        predicted = model(categorical, numerical)
        loss = (
            sum(criterion(predicted[t], labels[:, t]) for t in range(shape["tasks"]))
            / shape["tasks"]
        )
        model.zero_grad()
        loss.backward()
        optimizer.step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("a part of local_training.py")
    main()
