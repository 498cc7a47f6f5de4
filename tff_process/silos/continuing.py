"""A silo's own part of a training that goes on from a finished one: its private state, carried over
by its own vocabularies and statistics, which no driver knows.

The driver leaves a note in the new training's directory, and `pfrec-worker` runs this module as a
process of its own. It goes on from the silo's last finished training alone, the one of client.json.
"""

import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pfrec import child, client_directory, errors, files, json_fields
from tff_process.silos import agreement, directory

_TRAINING = re.compile(r"[0-9a-f]{16}")


def note(before: str, plan: "Mapping[str, Any]") -> str:
    """The content of continue.json.

    Args:
      before: names the finished training.
      plan: of the new one, as plain data.
    """
    return files.json_text({"from": before, "plan": agreement.agreed_part(plan)})


class Watch:
    """Starts a process for each note that comes of a training that has no state here yet; one that
    failed is not tried again before the note is written anew.

    Use it from the main thread, see `child`.

    Args:
      place: the client directory.
      say: takes a line on what happened.
      command: of the process, but for the directory and the training.
    """

    def __init__(
        self,
        place: pathlib.Path,
        say: Callable[[str], None],
        command: "Sequence[str]" = (sys.executable, "-m", __name__),
    ) -> None:
        self._place, self._say, self._command = place, say, command
        self._seen: set[tuple[pathlib.Path, int]] = set()
        self._running: dict[str, subprocess.Popen[str]] = {}

    def look(self) -> None:
        """Does it for the notes that came since, and says what became of earlier ones."""
        for path in self._place.glob(f"{directory.RUNS}/*/{directory.CONTINUE}"):
            training = path.parent.name
            seen = (path, path.stat().st_mtime_ns)
            if seen in self._seen or training in self._running:
                continue
            self._seen.add(seen)
            # Version 0 itself is removed once the training needs it no more.
            if any(client_directory.version_of(own.name) >= 0 for own in path.parent.iterdir()):
                continue
            self._running[training] = subprocess.Popen(
                [*self._command, str(self._place), training],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=child.end_with_parent(),
                umask=0o077,
            )
        for training, process in list(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[training]
            _, told = process.communicate()
            if process.returncode:
                reason = (told.strip() or f"exit status {process.returncode}").splitlines()[-1]
                self._say(f"training {training} cannot go on from a finished one: {reason}")

    def stop(self) -> None:
        """Ends what is running."""
        for process in self._running.values():
            process.kill()
            process.communicate()


def carry_over(place: pathlib.Path, training: str) -> None:
    """Writes version 0 of a training's private state by the note in its directory.

    Args:
      place: the client directory.
      training: names the new training.

    Raises:
      PfrecError: where the note is damaged, names another training than the silo's last finished
        one, or does not fit that one.
    """
    # TensorFlow comes with these, and `pfrec-worker` needs it not.
    import numpy as np
    import tensorflow_federated as tff

    from pfrec import checkpoint, run_data
    from pfrec.data.dataset import dataset as dataset_lib
    from tff_process import plan as plan_lib
    from tff_process.process import carrying, federation
    from tff_process.process import types as types_lib
    from tff_process.silos import joint_dataset

    path = place / directory.RUNS / training
    remedy = "let its driver train anew"
    noted = json_fields.Fields(
        files.read_json(path / directory.CONTINUE, remedy=remedy),
        str(path / directory.CONTINUE),
        remedy,
    )
    record = client_directory.ClientRecord.read(place)
    before = noted.text("from")
    if before != record.run:
        raise errors.PfrecError(
            f"{path}: is to go on from training {before[:40]!r}, and the last one that finished "
            f"here is {record.run}; {remedy}"
        )
    with json_fields.within(f"{path / directory.CONTINUE}: plan", remedy):
        plan = plan_lib.Plan.from_json(noted.fields("plan").value)
    facts = directory.facts(place)
    for what, then, now in (
        ("model", record.model.to_json(), plan.model.to_json()),
        ("schema", carrying.columns(record.schema), carrying.columns(facts.schema)),
    ):
        difference = dataset_lib.first_difference(then, now, what)
        if difference:
            raise errors.PfrecError(f"{path}: another {what} than {before} has: {difference}")
    made = federation.Federation(plan, joint_dataset.agreed([facts]))
    data = dataset_lib.Dataset.open(place / directory.DATA)
    meaning = carrying.Meaning(
        run_data.read_client_schema(place / directory.RUNS / before, record.schema),
        data.client_schema(facts.scenario),
        str(place),
    )
    spec = made.process_spec()
    fresh = {
        name: spec.initial.get(name, np.zeros(kind.shape, np.float32))
        for name, kind in tff.structure.to_elements(types_lib.types_of(spec).private)
    }
    source = record.private_path(place)
    old, owner = checkpoint.load(source)
    if owner not in (None, checkpoint.owner(before, source.name)):
        raise errors.PfrecError(f"{source}: is the state of another training or version")
    run_data.keep_client_schema(path, data, facts.scenario)
    target = path / client_directory.version_name(0)
    checkpoint.save(
        target,
        carrying.Carrying(made).client(old, fresh, meaning),
        checkpoint.owner(training, target.name),
    )


def main() -> None:
    """Entry point of the process: the client directory and the training are its arguments."""
    place, training = sys.argv[1:]
    if not _TRAINING.fullmatch(training):
        raise SystemExit(f"{training!r} is no training")
    try:
        carry_over(pathlib.Path(place), training)
    except errors.PfrecError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
