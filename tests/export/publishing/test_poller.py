"""A poller that loads whatever whole-numbered directory appears,
while versions are published and publishers are killed.
"""

import contextlib
import pathlib
import random
import subprocess
import sys
import threading
import time

from export.publishing import publish
from export.version import manifest
from tests.export import stand_in_models

VERSIONS = 50
_PUBLISHER = """
import pathlib, shutil, sys, time
from export.publishing import publish
source, serving = map(pathlib.Path, sys.argv[1:3])
names = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
print("ready", flush=True)
while publish.next_version(serving / "NL") <= int(sys.argv[3]):
    with publish.Publication(serving) as publication:
        directory = publication.stage("NL")
        for name in names:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, directory / name)
            time.sleep(0.001)
        publication.publish()
"""


def test_no_bad_version_is_ever_seen(exported: pathlib.Path, tmp_path: pathlib.Path) -> None:
    model = tmp_path / "NL"
    model.mkdir()
    seen: dict[int, str] = {}
    stop = threading.Event()

    def poll() -> None:
        while True:
            ending = stop.is_set()
            for version in publish.versions(model):
                if version in seen:
                    continue
                directory = model / str(version)
                try:
                    # What is not all there at this moment differs from the manifest, or is refused
                    # by the loader or the warm-up.
                    problem = "; ".join(manifest.differences(directory, manifest.read(directory)))
                    stand_in_models.LoadedModel(directory).close()
                except Exception as error:
                    problem = repr(error)
                seen[version] = problem
            if ending:
                return
            time.sleep(0.001)

    poller = threading.Thread(target=poll)
    poller.start()
    chance, killed, started = random.Random(0), 0, 0
    try:
        while publish.next_version(model) <= VERSIONS and started < 200:
            started += 1
            command = [
                sys.executable,
                "-c",
                _PUBLISHER,
                str(exported),
                str(tmp_path),
                str(VERSIONS),
            ]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, cwd=pathlib.Path(__file__).parents[3]
            ) as publisher:
                assert publisher.stdout is not None
                publisher.stdout.readline()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    publisher.wait(timeout=chance.uniform(0.05, 0.4))
                if publisher.poll() is None:
                    publisher.kill()
                    killed += 1
    finally:
        stop.set()
        poller.join()
    left = [path for path in model.iterdir() if not path.name.isdecimal()]
    assert sorted(seen) == list(range(1, VERSIONS + 1))
    assert {version: problem for version, problem in seen.items() if problem} == {}
    # The kills did strike half-way: what they left is there, under names that a server does not
    # look at.
    assert killed > 0
    assert left
    assert all(path.name.startswith(".tmp-") for path in left)


def test_the_poller_would_see_a_copy_in_place(
    exported: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The proof that the test above can fail:
    a version that is copied to its final name is seen half-written.
    """
    directory = tmp_path / "NL" / "1"
    (directory / "assets.extra").mkdir(parents=True)
    (directory / manifest.FILE).write_bytes((exported / manifest.FILE).read_bytes())
    assert publish.versions(tmp_path / "NL") == [1]
    assert "saved_model.pb is missing" in manifest.differences(directory, manifest.read(directory))
