"""A gatekeeper that masks reports: under what they follow from, and one report for that."""

import dataclasses

import numpy as np
import pytest
from tensorflow_federated.proto.v0 import executor_pb2

from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.silos import labels, ledger, values
from tff_process.sums import fixed_point, masks

SECRETS = {name: name.encode() * 8 for name in ("es", "fr", "nl")}
KEYS = {name: masks.public_key(secret) for name, secret in SECRETS.items()}
SUM = values.Tensor(values.INT64, (3, 2))
REPORT = {
    "table": SUM,
    "weight": values.Tensor(values.INT64, (1,)),
    "loss": stand_in.REPORT["loss"],
}
TABLE = np.arange(6, dtype=np.int64).reshape(3, 2)


def terms(name, keys=KEYS, **changed):
    answers = {**stand_in.terms().answers, labels.REPORT: REPORT}
    return {
        "masks": masks.Masks(SECRETS[name], name, keys),
        "answers": answers,
        "receivable": dataclasses.replace(stand_in.terms().receivable, summed=True),
        **changed,
    }


class Silo:
    """A gatekeeper with masks, and its driver."""

    def __init__(self, path, name="nl", **changed):
        self.number = list(SECRETS).index(name)
        made = stand_in.made(path, **terms(name, **changed))
        self.gatekeeper, self.worker, self.book = made
        self.driver = stand_in.Driver(self.gatekeeper)

    def trained(
        self,
        private=None,
        shared=1.0,
        number=0,
        steps=5,
        rate=0.5,
        training=7,
        first_step=None,
        began=0.0,
        personal=0.0,
    ):
        driver = self.driver
        if private is None:
            begun = stand_in.struct(user=stand_in.tensor(np.full([3, 2], began)))
            private = driver.call("start", driver.value(begun))
        own = stand_in.struct(
            client_id=stand_in.tensor(self.number, np.int32),
            values=stand_in.struct(tower=stand_in.tensor(np.full([3, 2], personal))),
        )
        first = steps * number if first_step is None else first_step
        asked = stand_in.work(first_step=first, steps=steps, learning_rate=rate)
        elements = [(element.name, element.value) for element in asked.struct.element]
        parts = 20 // steps
        told = (("sum_number", number), ("sum_parts", parts), ("sum_training", training))
        more = [(name, stand_in.tensor(of, np.int64)) for name, of in told]
        parts = dict([*elements[:5], *more, *elements[5:]])
        return driver.call(
            "train",
            driver.struct(
                shared=driver.value(stand_in.shared(shared)),
                personal=driver.value(own),
                client=driver.client(private, stand_in.struct(**parts)),
            ),
        )

    def report(self, trained, table=TABLE):
        """What leaves of a training whose outcome is a table; flat, with the weight."""
        self.worker.answers = [plain(table)]
        answer = self.driver.fetch(self.driver.select(trained, 1))
        flat = [values.numbers(array) for array in values.arrays(answer)][:2]
        return np.concatenate(flat)

    def write(self, trained, version=1):
        private = self.driver.select(trained, 0)
        name = self.driver.text(f"runs/{stand_in.ID}/version_{version:05d}")
        written = self.driver.call("write", self.driver.struct(private=private, directory=name))
        self.worker.answers = [stand_in.tensor(9, np.int32)]
        self.driver.fetch(written)

    def read(self, version=1):
        name = self.driver.text(f"runs/{stand_in.ID}/version_{version:05d}")
        return self.driver.select(self.driver.call("read", name), 0)


def plain(table):
    made = executor_pb2.Value()
    for value in (
        stand_in.tensor(table, np.int64),
        stand_in.tensor([50], np.int64),
        stand_in.tensor(0.0),
    ):
        made.struct.element.add(value=value)
    return made


@pytest.fixture
def silos(tmp_path):
    return {name: Silo(tmp_path / f"{name}.jsonl", name) for name in SECRETS}


@pytest.fixture
def silo(silos):
    return silos["nl"]


def test_reports_of_all_silos_add_up_and_each_is_hidden(silos):
    sent = [silo.report(silo.trained(), TABLE * k) for k, silo in enumerate(silos.values())]
    np.testing.assert_array_equal(fixed_point.added(sent), [*(3 * TABLE).ravel(), 150])
    for one in sent:
        assert np.all(np.abs(np.float64(one)) > 2.0**40)
    entry = silos["nl"].book.entries[-1]
    assert entry["what"] == labels.REPORT
    assert entry["leaves"] == [["table", [3, 2], 48], ["weight", [1], 8], ["loss", [], 4]]
    assert len(bytes.fromhex(entry["origin"])) == 32


@pytest.mark.parametrize(
    "other",
    [{"shared": 0.0}, {"steps": 10}, {"training": 8}, {"began": 1.0}, {"personal": 1.0}],
)
def test_silos_that_were_told_otherwise_have_no_sum(silos, other):
    sent = [
        silo.report(silo.trained(**(other if name == "es" else {}))) for name, silo in silos.items()
    ]
    assert np.all(np.abs(np.float64(fixed_point.added(sent))) > 2.0**40)


def test_what_came_in_before_counts_as_well(silos):
    """A silo's own state may be trained on anything; its reports then are in no sum with others'.
    The learning rate may be less where there is a schedule.
    """
    sent = []
    for name, silo in silos.items():
        before = silo.trained(shared=-1.0 if name == "es" else 1.0)
        sent.append(silo.report(silo.trained(silo.driver.select(before, 0), number=1)))
    assert np.all(np.abs(np.float64(fixed_point.added(sent))) > 2.0**40)
    sent = []
    for silo in silos.values():
        before = silo.trained(shared=3.0)
        sent.append(silo.report(silo.trained(silo.driver.select(before, 0), number=1)))
    np.testing.assert_array_equal(fixed_point.added(sent), [*(3 * TABLE).ravel(), 150])


def test_two_plans_have_no_mask_in_common(tmp_path):
    origins = set()
    for number, plan in enumerate(("aa" * 32, "ab" * 32)):
        silo = Silo(tmp_path / f"{number}.jsonl", plan_digest=plan)
        silo.report(silo.trained())
        origins.add(silo.book.entries[-1]["origin"])
    assert len(origins) == 2


def test_a_schedules_rate_is_bound(tmp_path):
    work = dataclasses.replace(stand_in.terms().receivable.work, scheduled=True)
    taken = dataclasses.replace(stand_in.terms().receivable, summed=True, work=work)
    origins = set()
    for number, rate in enumerate((0.5, 0.25)):
        silo = Silo(tmp_path / f"{number}.jsonl", receivable=taken)
        silo.report(silo.trained(rate=rate))
        origins.add(silo.book.entries[-1]["origin"])
    assert len(origins) == 2


def test_another_report_under_the_same_masks_is_refused_and_the_same_one_is_not(silo, tmp_path):
    first = silo.report(silo.trained())
    np.testing.assert_array_equal(silo.report(silo.trained()), first)
    entries = len(silo.book.entries)
    with stand_in.refused("under the masks of one that left"):
        silo.report(silo.trained(), TABLE + 1)
    assert len(silo.book.entries) == entries
    # Nor after the silo started again, under this or another agreement.
    silo.book.close()
    again = Silo(tmp_path / "nl.jsonl", agreement_digest="cc" * 32)
    with stand_in.refused("under the masks of one that left"):
        again.report(again.trained(), TABLE + 1)
    np.testing.assert_array_equal(again.report(again.trained()), first)
    again.report(again.trained(shared=2.0), TABLE + 1)


def test_who_agrees_anew_without_a_silo_gives_its_update_away(tmp_path, silos):
    """What docs/secure_sums.md says of dropping out: the same training again over all others is one
    subtraction away from the missing one's. Under the number that it had it is refused.
    """
    whole = [silo.report(silo.trained(), TABLE * k) for k, silo in enumerate(silos.values(), 1)]
    keys = {name: KEYS[name] for name in ("es", "nl")}
    left = []
    for k, name in ((1, "es"), (3, "nl")):
        silos[name].book.close()
        again = Silo(tmp_path / f"{name}.jsonl", name, keys=keys, agreement_digest="cc" * 32)
        with stand_in.refused("under the masks of one that left"):
            again.report(again.trained(), TABLE * k)
        left.append(again.report(again.trained(training=8), TABLE * k))
    missing = fixed_point.added(whole) - fixed_point.added(left)
    np.testing.assert_array_equal(missing, [*(2 * TABLE).ravel(), 50])


def test_masks_of_two_reports_do_not_cancel(silo):
    """What a driver that asks twice with other values subtracts."""
    one, other = (silo.report(silo.trained(shared=value)) for value in (1.0, 2.0))
    assert np.all(np.abs(np.float64(one - other)) > 2.0**40)


def test_a_state_on_the_disk_keeps_its_origin(silo, tmp_path):
    trained = silo.trained()
    silo.write(trained)
    states = [entry for entry in silo.book.entries if entry["what"] == ledger.STATE]
    assert [entry["state"] for entry in states] == [f"{stand_in.ID}/version_00001"]
    direct = silo.report(silo.trained(silo.driver.select(trained, 0), number=1))
    np.testing.assert_array_equal(direct, silo.report(silo.trained(silo.read(), number=1)))
    silo.write(silo.trained())  # a round that was trained again
    with stand_in.refused("to write over a state that came about in another way"):
        silo.write(silo.trained(shared=9.0))
    with stand_in.refused("does not tell the origin"):
        silo.read(5)
    silo.book.close()
    again = Silo(tmp_path / "nl.jsonl")
    np.testing.assert_array_equal(direct, again.report(again.trained(again.read(), number=1)))
    assert sum(entry["what"] == ledger.STATE for entry in again.book.entries) == 1


@pytest.mark.parametrize(
    "other", [{"first_step": 5}, {"first_step": 20}, {"number": -4, "first_step": 0}]
)
def test_one_silo_is_not_asked_for_other_batches_for_another_sum(silo, other):
    """Of two sums to which the other silos send the same, this one's difference would follow."""
    with stand_in.refused("which are not its steps here"):
        silo.trained(training=8, **other)
    assert silo.book.entries == []


def test_a_state_is_trained_for_its_next_sum_alone(silo):
    """Where a silo has one batch of all its rows it would train the same for any number."""
    with stand_in.refused("for another sum than the state's next one"):
        silo.trained(number=1)
    trained = silo.trained()
    silo.trained(silo.driver.select(trained, 0), number=1)
    for number in (0, 2):
        with stand_in.refused("for another sum than the state's next one"):
            silo.trained(silo.driver.select(trained, 0), number=number)
    # Nor where it was written in between.
    with stand_in.refused("to write a state for sum 1 as that of another"):
        silo.write(trained, version=2)
    silo.write(trained)
    silo.trained(silo.read(), number=1)
    with stand_in.refused("for another sum than the state's next one"):
        silo.trained(silo.read(), number=2)


def test_work_that_names_no_sum_is_refused(silo):
    with stand_in.refused("other parts"):
        silo.driver.train()


def test_a_silo_without_sums_notes_no_origins(tmp_path):
    made, worker, book = stand_in.made(tmp_path / "ledger.jsonl")
    driver = stand_in.Driver(made)
    worker.answers = [stand_in.report()]
    driver.fetch(driver.select(driver.train(), 1))
    assert all("origin" not in entry for entry in book.entries)
