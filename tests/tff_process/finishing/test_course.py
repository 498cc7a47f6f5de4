"""The course of finishing, by a model of two numbers whose steps and AUC are made by hand: from
where each model starts, how long and by what rate it is trained, and what of it is kept.
"""

import types

import numpy as np
import pytest
import tensorflow as tf

from pfrec import metrics
from tff_process.client import work as work_lib
from tff_process.finishing import home, teaching

RATE, PIECES = 0.1, 4


class Model:
    """`w` was received, `u` was not."""

    def __init__(self):
        self.variables = {name: tf.Variable(0.0) for name in ("w", "u")}
        self.trained = list(self.variables)
        self.slot = tf.Variable(0.0)
        self.optimizers = {work_lib.OPTIMIZER: types.SimpleNamespace(slots=[self.slot])}
        self.applied = []

    def read(self, names):
        return {name: self.variables[name].read_value() for name in names}

    def load(self, values):
        for name, value in values.items():
            self.variables[name].assign(value)

    def apply(self, gradients, prefix, learning_rate, decay):
        self.applied.append((gradients, learning_rate, decay))


def measured(auc, rows=10_000):
    values = np.full([1, len(metrics.METRICS)], np.nan)
    for name, value in (("auc", auc), ("rows", rows), ("positives", rows / 2)):
        values[:, metrics.METRICS.index(name)] = value
    return tf.constant(values)


class Course:
    """Calls `home` eagerly. A step moves `w` by its rate; AUC is 0.5 and `gain` times `w`."""

    def __init__(self, monkeypatch, gain, steps, epoch_steps, first, rows=10_000, noised=False):
        self.model, self.lessons = Model(), []
        monkeypatch.setattr(home, "_steps", self._steps)
        monkeypatch.setattr(home.Training, "on_valid", lambda training: self._on_valid(gain, rows))
        work = {home.STEPS: steps, home.EPOCH_STEPS: epoch_steps}
        self.training = home.Training(
            self.model,
            work_lib.TrainingSettings(),
            {name: tf.constant(value, tf.int64) for name, value in work.items()},
            {name: tf.constant(value) for name, value in first.items()},
            1.0,
            RATE,
            noised,
        )

    def _on_valid(self, gain, rows):
        return measured(0.5 + gain * float(self.model.variables["w"]), rows)

    def _steps(self, training, begin, end, lesson):
        self.lessons.append((int(begin), int(end), lesson, float(self.model.slot)))
        self.model.variables["w"].assign_add(lesson.rate)
        self.model.slot.assign(1.0)

    def made(self):
        return home.made(self.training, self.training.on_valid())

    def of_turns(self):
        """The lessons of each of the three models: those of the second are by the whole rate."""
        rates = [float(lesson.rate) for _, _, lesson, _ in self.lessons]
        taught = [bool(lesson.is_taught) for _, _, lesson, _ in self.lessons]
        alone = [rate > 0.9 * RATE for rate in rates]
        return [
            [it for it, a, t in zip(self.lessons, alone, taught) if (a, t) == turn]
            for turn in ((False, False), (True, False), (False, True))
        ]


def test_three_models_by_hand(monkeypatch):
    """Ten steps of epochs of four: each epoch in four pieces, the last of half its steps. What is
    kept is the mean of all pieces, of which training itself knows nothing: after twelve moves of
    one size that of six and a half.
    """
    course = Course(monkeypatch, gain=0.05, steps=10, epoch_steps=4, first={"w": -1.0})
    made = course.made()
    turns = course.of_turns()
    pieces = [(n, n + 1) for n in range(10)] + [(10, 10)] * 2
    for lessons, rate in zip(turns, (0.3 * RATE, RATE, 0.3 * RATE)):
        assert [(begin, end) for begin, end, _, _ in lessons] == pieces
        assert [float(lesson.rate) for _, _, lesson, _ in lessons] == pytest.approx([rate] * 12)
        # Moments begin anew from each start, and are kept from then on.
        assert [slot for _, _, _, slot in lessons] == [0.0] + [1.0] * 11
        assert {lesson.new for _, _, lesson, _ in lessons} == {frozenset({"u"})}
    # For half of all epochs at most what was not received is trained alone, from what was received.
    only_new = [[bool(lesson.only_new) for _, _, lesson, _ in lessons] for lessons in turns]
    assert only_new == [[True] * 4 + [False] * 8, [False] * 12, [False] * 12]

    moved = 6.5 * RATE
    received, alone = 0.3 * moved, -1.0 + moved
    assert float(made.received["w"]) == pytest.approx(received)
    assert float(made.alone["w"]) == pytest.approx(alone)
    # It goes on from what became of the first.
    assert float(made.taught["w"]) == pytest.approx(2 * received)
    scores = 0.5 + 0.05 * np.array([received, alone, 2 * received])
    np.testing.assert_allclose(made.scores, scores, rtol=1e-6)
    for _, _, lesson, _ in turns[2]:
        assert [float(teacher["w"]) for teacher in lesson.teachers] == pytest.approx(
            [received, alone]
        )
        odds = np.exp((scores[0] - scores[1]) / 0.02)
        np.testing.assert_allclose(lesson.shares, [odds / (1 + odds), 1 / (1 + odds)], rtol=1e-4)


@pytest.mark.parametrize(
    ("first", "epochs"),
    [
        ({"w": -1.0, "u": 0.0}, (4, 4, 4)),
        # What was not received is trained alone for four epochs, whatever comes of it.
        ({"w": -1.0}, (7, 4, 4)),
    ],
)
def test_a_start_is_given_up_after_three_epochs_that_are_no_better(monkeypatch, first, epochs):
    """Each epoch does worse than the one before, the first of them than what was there: so that is
    what stands for each model, the taught one aside, of which nothing was there.
    """
    course = Course(monkeypatch, gain=-0.05, steps=20, epoch_steps=2, first=first)
    made = course.made()
    assert tuple(len(lessons) for lessons in course.of_turns()) == tuple(
        PIECES * number for number in epochs
    )
    assert float(made.received["w"]) == 0.0
    assert float(made.alone["w"]) == -1.0
    assert float(made.taught["w"]) == pytest.approx(0.3 * RATE * 2.5)
    np.testing.assert_allclose(made.scores, [0.5, 0.55, 0.5 - 0.05 * 0.3 * RATE * 2.5], rtol=1e-6)


def test_nothing_is_taught_where_nothing_can_be_measured(monkeypatch):
    course = Course(monkeypatch, 0.05, 4, 4, {"w": -1.0, "u": 0.0}, rows=0, noised=True)
    made = course.made()
    assert [len(lessons) for lessons in course.of_turns()] == [PIECES, PIECES, 0]
    np.testing.assert_array_equal(made.scores, [0.0, 0.0, -1.0])
    assert float(made.chosen()["w"]) == 0.0


@pytest.mark.parametrize("noised", [False, True])
@pytest.mark.parametrize(("rows", "few"), [(20, True), (60, False)])
def test_chance_decides_but_under_differential_privacy(monkeypatch, noised, rows, few):
    """Of rows of which half are positive an AUC's standard error is about the root of 1 / (3 rows):
    0.13 of 20, 0.075 of 60.
    """
    first = {"w": 100.0, "u": 0.0}
    course = Course(monkeypatch, 0.001, 4, 4, first, rows, noised)
    # The course is Python's, which a graph of `finish` would see once.
    tf.config.run_functions_eagerly(True)
    try:
        home.finish(course.training)
    finally:
        tf.config.run_functions_eagerly(False)
    assert bool(course.lessons) == (noised or not few)
    margin = float(course.made().margin)
    assert margin == pytest.approx(0.02 if noised else np.sqrt((rows + 1) / (3 * rows**2)))


@pytest.mark.parametrize("noised", [False, True])
@pytest.mark.parametrize("is_taught", [False, True])
def test_what_a_step_learns_of(monkeypatch, noised, is_taught):
    """Statistics of the batch go with labels alone, and where nothing has noise in it; weights
    decay by the epochs of a client at home.
    """
    model, asked = Model(), []
    rows = {"dropout_seed": 3}

    def gradients(model, settings, rows, anchors, training):
        asked.append((rows["of"], training, anchors))
        return tf.constant(0.0), {"w": tf.constant(2.0), "u": None}

    def once(model, settings, work, step, state):
        asked.append(tuple(int(work[name]) for name in ("first_step", "steps", "epoch_steps")))
        step(rows, state)

    monkeypatch.setattr(work_lib, "loss_and_gradients", gradients)
    monkeypatch.setattr(work_lib, "for_each_batch", once)
    monkeypatch.setattr(teaching, "with_labels", lambda batch: {"of": "labels"})
    monkeypatch.setattr(teaching, "with_answers", lambda *given: {"of": "answers"})
    work = {home.EPOCH_STEPS: tf.constant(5, tf.int64), home.SERVES: tf.ones([1])}
    settings = work_lib.TrainingSettings(weight_decay=0.25)
    training = home.Training(model, settings, work, {}, 1.0, RATE, noised)
    for only_new, moved in ((False, 2.0), (True, 0.0)):
        lesson = home._Lesson(
            tf.constant(0.003),
            frozenset({"u"}),
            tf.constant(only_new),
            (),
            tf.constant([0.5, 0.5]),
            tf.constant(is_taught),
        )
        asked.clear()
        model.applied.clear()
        home._steps(training, tf.constant(3, tf.int64), tf.constant(5, tf.int64), lesson)
        of_batch = not noised and not is_taught
        assert asked == [(3, 2, 5), ("answers" if is_taught else "labels", of_batch, {})]
        ((found, rate, decay),) = model.applied
        assert {name: float(value) for name, value in found.items()} == {"w": moved, "u": 0.0}
        assert float(rate) == pytest.approx(0.003)
        assert float(decay) == pytest.approx(0.05)
