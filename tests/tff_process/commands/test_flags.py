"""From flags to a plan: presets under what is given, an entry's settings over both."""

import dataclasses
import os
import subprocess
import sys

import pytest
from absl import flags

from pfrec import errors
from pfrec import run_records as records
from pfrec.models.config import ModelConfig
from tests import run_records
from tff_process import plan as plan_lib
from tff_process import plan_difference
from tff_process.algorithms import registry
from tff_process.commands import flags as training_flags
from tff_process.commands import from_flags, idle_flags, presets
from tff_process.comparison import entries
from tff_process.runtime import options


@pytest.fixture(scope="module")
def _defined():
    training_flags.define()
    if "algorithm" not in flags.FLAGS:
        flags.DEFINE_string("algorithm", "pf_msmtrec", "")
        flags.DEFINE_integer("seed", 0, "")
    if "init_from" not in flags.FLAGS:
        flags.DEFINE_string("init_from", None, "")


@pytest.fixture
def given(_defined):
    def parse(*arguments):
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["pfrec-train", "--data=d", "--output=o", *arguments])

    yield parse
    parse()


def resumed_plan(run):
    return from_flags.resumed_plan(records.read_config(run))


def continued_plan(run):
    return from_flags.continued_plan(records.read_config(run), run)


def test_flags_have_the_defaults_of_a_plan(given):
    given()
    assert from_flags.plan("pf_msmtrec", 3) == plan_lib.Plan("pf_msmtrec", seed=3)


def test_what_of_a_preset_is_of_no_concern_to_an_algorithm_is_told(given):
    """fedavg has no matrix of weights, and pooling shares all."""
    given("--preset=paper")
    told = from_flags.preset_note(from_flags.plan("fedavg", 0))
    used = "template, aggregations, aggregate_every, average_over, weight_decay"
    assert told.startswith(f"--preset=paper: gives fedavg {used} alone; it has no proximal, coord")
    assert from_flags.preset_note(from_flags.plan("pf_msmtrec", 0)) == ""
    given()
    assert from_flags.preset_note(from_flags.plan("fedavg", 0)) == ""


def test_a_preset_goes_under_flags_and_settings(given):
    given("--preset=paper", "--mu=0.75")
    made = from_flags.plan("pf_msmtrec", 0, settings=[("tower_mu", "0.9")])
    assert (made.model.template, made.settings.proximal, made.aggregations, made.average_over) == (
        "additive",
        0.1,
        1,
        0.0,
    )
    assert (made.settings.mu, made.settings.tower_mu, made.settings.gate_mu) == (0.75, 0.9, 0.0)
    # An entry may go back to the defaults, or take a preset by itself.
    assert from_flags.plan("pf_msmtrec", 0, settings=[("preset", "none")]).model.template == "none"
    given()
    assert (
        from_flags.plan("pf_msmtrec", 0, settings=[("preset", "paper")]).model.template
        == "additive"
    )
    assert from_flags.plan("pf_msmtrec", 0).model.template == "none"


def test_a_flag_counts_as_given_by_either_of_its_names(given, tmp_path):
    """A preset names `mu`, which is an alias of `pf_mu`."""
    for flag in ("--mu=0.75", "--pf_mu=0.75"):
        given("--preset=paper", flag)
        assert from_flags.plan("pf_msmtrec", 0).settings.mu == 0.75
        run_records.write(tmp_path, {"plan": plan_lib.Plan("pf_msmtrec").to_json()})
        given(flag)
        assert continued_plan(tmp_path).settings.mu == 0.75
    given("--preset=paper")
    for name in ("mu", "pf_mu"):
        assert from_flags.plan("pf_msmtrec", 0, settings=[(name, "0.75")]).settings.mu == 0.75
    assert from_flags.plan("pf_msmtrec", 0).settings.mu == 0.5


def test_an_unknown_preset_is_refused(given):
    given()
    with pytest.raises(errors.PfrecError, match="preset=best"):
        from_flags.plan("pf_msmtrec", 0, settings=[("preset", "best")])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("learning_rat=1", "learning_rat is no flag of a training"),
        ("output=x", "output is no flag of a training"),
        ("learning_rate=fast", "learning_rate=fast"),
    ],
)
def test_a_setting_of_an_entry_that_is_none_is_named(given, setting, told):
    given()
    entry = entries.Entry.parse(f"local:{setting}")
    with pytest.raises(errors.PfrecError, match=told):
        from_flags.plan(entry.algorithm, 0, entry.sharing, entry.settings)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--ditto_lambda=1", "--ditto_lambda=1: is a setting of ditto, and would do nothing to"),
        ("--mu=0.5", "--pf_mu=0.5: is a setting of pf_msmtrec, and would do nothing to fedavg"),
        ("--fedala_kinds=gate", "--fedala_kinds=gate: is a setting of fedala"),
    ],
)
def test_a_setting_of_another_algorithm_is_refused(given, argument, told):
    given(argument)
    with pytest.raises(errors.PfrecError, match=told):
        idle_flags.require_concerned(["fedavg", "pooled_mmoe", "fedavg"])
    idle_flags.require_concerned(["fedavg", "ditto", "pf_msmtrec", "fedala"])
    given("--preset=paper", "--server_rate=0.1")
    idle_flags.require_concerned(["fedyogi"])


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (["--dp_unit=group"], [], "--dp_unit=group without --dp_epsilon"),
        (["--dp_clip=2.5"], [], "--dp_clip=2.5 without --dp_epsilon"),
        ([], [("dp_sparse_rows", "9")], "--dp_sparse_rows=9 without --dp_epsilon"),
        (["--dp_epsilon=3"], [("dp_epsilon", "0"), ("dp_delta", "0.1")], "--dp_delta=0.1 without"),
    ],
)
def test_what_is_said_of_privacy_that_is_not_asked_for_is_refused(given, arguments, settings, told):
    given(*arguments)
    with pytest.raises(errors.PfrecError, match=told):
        from_flags.plan("fedavg", 0, settings=settings)


def test_what_is_said_of_privacy_that_is_asked_for_is_taken(given):
    given("--dp_epsilon=3", "--dp_clip=2.5", "--dp_unit=group")
    made = from_flags.plan("fedavg", 0)
    assert (made.dp_epsilon, made.dp_clip, made.dp_unit) == (3.0, 2.5, "group")
    given("--dp_clip=2.5")
    assert from_flags.plan("fedavg", 0, settings=[("dp_epsilon", "3")]).dp_clip == 2.5


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--home_rate=0.1"], []),
        (["--dp_home_rate=0.1"], []),
        (["--home_rate=0.1", "--dp_epsilon=3", "--home_epochs=0"], []),
        (["--home_epochs=3"], [("dp_home_rate", "0.1"), ("home_epochs", "0")]),
    ],
)
def test_a_step_size_at_home_where_nobody_finishes_is_refused(given, arguments, settings):
    given(*arguments)
    with pytest.raises(errors.PfrecError, match=r"--home_rate=0.1: .*give --home_epochs too"):
        from_flags.plan("fedavg", 0, settings=settings)


def test_a_step_size_at_home_where_clients_finish_is_taken(given):
    given("--home_rate=0.1")
    for settings in ([("home_epochs", "3")], [("dp_epsilon", "3")], [("dp_home_epochs", "3")]):
        assert from_flags.plan("fedavg", 0, settings=settings).home_rate == 0.1


def test_presets_name_flags_and_values_that_there_are(given):
    given()
    for settings in presets.PRESETS.values():
        from_flags.plan("pf_msmtrec", 0, settings=list(settings.items()))


def test_a_run_that_is_older_than_a_setting_is_resumed_without(given, tmp_path):
    given()
    now = from_flags.plan("fedavg", 0)
    record = now.to_json()
    run_records.write(tmp_path, {"plan": record})
    assert resumed_plan(tmp_path) == now
    del record["weight_decay"]
    run_records.write(tmp_path, {"plan": record})
    assert now.decay == 30.0
    assert plan_difference.first(record, now) == "weight_decay was 0.0 and is 30.0"
    begun = resumed_plan(tmp_path)
    assert begun == plan_lib.Plan("fedavg", weight_decay=0.0)
    assert plan_difference.first(record, begun) == ""
    # Who asks for it is told that the run has none.
    given("--weight_decay=30")
    assert plan_difference.first(record, resumed_plan(tmp_path)) == (
        "weight_decay was 0.0 and is 30.0"
    )


def test_a_run_goes_on_by_its_own_plan_but_for_what_flags_say(given, tmp_path):
    before = plan_lib.Plan("fedavg", rounds=7, seed=4, model=ModelConfig(experts=2), patience=3)
    run_records.write(tmp_path, {"plan": before.to_json()})
    given("--rounds=2", "--learning_rate=0.5")
    made = continued_plan(tmp_path)
    assert (made.name, made.rounds, made.learning_rate, made.patience) == ("fedavg", 2, 0.5, 3)
    assert (made.seed, made.model.experts) == (4, 2)
    assert (made.init_from, made.continues) == (str(tmp_path.resolve()), True)
    given("--algorithm=local")
    with pytest.raises(errors.PfrecError, match="is of fedavg, and goes on as such"):
        continued_plan(tmp_path)
    given("--sharing=gate/*=private")
    with pytest.raises(errors.PfrecError, match="goes on with what it shares"):
        continued_plan(tmp_path)
    with pytest.raises(errors.PfrecError, match="name the directory that pfrec-train wrote"):
        continued_plan(tmp_path / "none")


def test_a_run_is_resumed_by_its_own_plan_wherever_it_came_from(given, tmp_path):
    """Neither the run that it went on from is there any more, nor are defaults what they were."""
    gone = tmp_path / "gone"
    begun = plan_lib.Plan(
        "fedavg",
        rounds=7,
        seed=4,
        batch_size=32,
        model=ModelConfig(tower_batch_norm=not ModelConfig().tower_batch_norm),
        sharing=(("gate/*", "private"),),
        init_from=str(gone),
        continues=True,
    )
    run_records.write(tmp_path, {"plan": begun.to_json()})
    for flag in ([], [f"--init_from={gone}"], ["--algorithm=fedavg", "--sharing=gate/*=private"]):
        given(*flag)
        assert resumed_plan(tmp_path) == begun
    given("--rounds=9")
    assert resumed_plan(tmp_path) == dataclasses.replace(begun, rounds=9)
    for flag, difference in (
        ("--batch_size=64", "batch_size was 32 and is 64"),
        ("--seed=5", "seed was 4 and is 5"),
        ("--algorithm=local", "algorithm was 'fedavg' and is 'local'"),
        (f"--init_from={tmp_path}", f"init_from was {str(gone)!r} and is {str(tmp_path)!r}"),
        ("--withhold=loss", "withhold"),
        ("--sharing=tower/*=private", "sharing"),
    ):
        given(flag)
        told = plan_difference.first(begun.to_json(), resumed_plan(tmp_path))
        assert told.startswith(difference), told


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (["--schedule_end=0.1"], [], "--schedule_end=0.1: is of --schedule=cosine alone, and here"),
        (["--schedule=cosine"], [("schedule_parts", "2")], "--schedule_parts=2: is of --schedule="),
        (["--rank=8"], [], "--rank=8: is of --template=additive or hadamard alone"),
    ],
)
def test_what_belongs_to_another_choice_is_refused(given, arguments, settings, told):
    given(*arguments)
    with pytest.raises(errors.PfrecError, match=told):
        idle_flags.require_used_by_one([from_flags.plan("fedavg", 0, settings=settings)])
    given("--schedule=step", "--schedule_parts=2", "--template=additive", "--rank=8")
    made = from_flags.plan("fedavg", 0)
    idle_flags.require_used_by_one([made])
    assert made.model.rank == 8


def test_a_flag_is_of_use_where_one_of_several_plans_uses_it(given):
    given("--schedule_end=0.1")
    plans = [
        from_flags.plan("fedavg", 0, settings=[("schedule", schedule)])
        for schedule in ("constant", "cosine")
    ]
    idle_flags.require_used_by_one(plans)
    with pytest.raises(errors.PfrecError, match=r"--schedule_end=0\.1: is of --schedule=cosine"):
        idle_flags.require_used_by_one(plans[:1])


def test_flags_of_clients_are_refused_where_there_are_none(given):
    given("--participation=0.5")
    idle_flags.require_of_clients(from_flags.plan("fedavg", 0))
    for flag in ("--participation=0.5", "--clip_updates", "--precision=bfloat16"):
        given(flag)
        name = flag.partition("=")[0]
        with pytest.raises(errors.PfrecError, match=f"{name}: is of clients, which pooled_mmoe do"):
            idle_flags.require_of_clients(from_flags.plan("pooled_mmoe", 0))
    given("--precision=auto", "--client_timeout=9")
    idle_flags.require_of_clients(from_flags.plan("pooled_mmoe", 0))


def test_flags_of_builtin_data_are_refused_beside_others(given):
    given("--synthetic_rows=600")
    with pytest.raises(errors.PfrecError, match=r"--synthetic_rows: is of --data=synthetic, so"):
        idle_flags.require_effective()
    given("--synthetic_rows=600", "--data=synthetic")
    idle_flags.require_effective()


def test_a_newcomer_has_the_algorithm_and_the_shape_that_it_has(given, tmp_path):
    run_records.write(tmp_path, {"model": ModelConfig(experts=2).to_json()})

    def asked():
        return from_flags.joining_plan(records.read_config(tmp_path), tmp_path)

    given("--experts=2", "--algorithm=local", "--seed=3", "--rounds=5")
    shape, run = ModelConfig(experts=2), str(tmp_path.resolve())
    assert asked() == plan_lib.Plan("local", rounds=5, seed=3, model=shape, init_from=run)
    for flag, told in (
        ("--algorithm=fedavg", "--algorithm=fedavg: a scenario that joins a run trains by local"),
        ("--experts=4", f"--experts=4: a scenario that joins {tmp_path} has its shape, in which"),
    ):
        given(flag)
        with pytest.raises(errors.PfrecError, match=told):
            asked()


def test_a_run_goes_on_as_it_was_executed_but_for_what_flags_say(given, tmp_path, capsys):
    """Without --keep_rounds rounds would be removed that somebody asked to keep."""
    before = options.Options(keep_rounds=7, clip_updates=True, max_update_norm=3.5, min_clients=2)
    run_records.write(tmp_path, {"options": before.to_json()})
    given("--min_clients=1", "--local_workers=2")
    assert set(before.to_json()) == set(options.LASTING)
    chosen = from_flags.options(records.read_config(tmp_path), tmp_path)
    assert chosen == dataclasses.replace(before, min_clients=1, local_workers=2)
    told = "--max_update_norm=3.5, --clip_updates=true, --keep_rounds=7; give a flag to change it"
    assert capsys.readouterr().err == f"note: executed as {tmp_path} was, by {told}\n"
    run_records.write(tmp_path)  # Of a version that kept no such record.
    chosen = from_flags.options(records.read_config(tmp_path), tmp_path)
    assert chosen == options.Options(min_clients=1, local_workers=2)
    assert capsys.readouterr().err == ""
    run_records.write(tmp_path, {"options": {"keep_rounds": 0}})
    with pytest.raises(
        errors.PfrecError, match=r"config\.json: options: keep_rounds is 0; it must"
    ):
        from_flags.options(records.read_config(tmp_path), tmp_path)


def test_a_joined_run_is_resumed_by_its_own_plan(given, tmp_path):
    """Its algorithm and shape are no flags' when it is begun, so they are none's afterwards."""
    first = tmp_path / "first"
    begun = plan_lib.Plan("local", rounds=2, model=ModelConfig(experts=2), init_from=str(first))
    run_records.write(tmp_path, {"plan": begun.to_json()})
    for flag in ([], [f"--init_from={first}"], ["--algorithm=fedavg", "--experts=5"]):
        given(*flag)
        assert resumed_plan(tmp_path) == begun
    given("--rounds=9")
    assert resumed_plan(tmp_path) == dataclasses.replace(begun, rounds=9)
    given("--batch_size=64")
    told = plan_difference.first(begun.to_json(), resumed_plan(tmp_path))
    assert told.startswith("batch_size was")


def test_a_run_of_an_algorithm_of_ones_own_goes_on_with_its_flags(given, tmp_path, monkeypatch):
    (tmp_path / "that_of_mine.py").write_text(
        """
import dataclasses

from pfrec import settings
from tff_process.algorithms import fedavg, registry


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings, prefix="that"):
    rate: float = settings.setting(0.5, "a rate", low=0.0)


@registry.register("mine")
def mine(schema, settings=Settings()):
    return dataclasses.replace(fedavg.fedavg(schema), name="mine")
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "FEDERATED", dict(registry.FEDERATED))  # Unknown to other tests.
    name = "that_of_mine:mine"
    before = plan_lib.Plan(name, settings=registry.default_settings(name))
    run_records.write(tmp_path / "run", {"plan": before.to_json(), "algorithm": name})
    training_flags.define_own([f"--init_from={tmp_path / 'run'}", "--workers=nl=127.0.0.2:7000"])
    given("--that_rate=0.25")
    made = continued_plan(tmp_path / "run")
    assert (made.name, made.settings.rate) == (name, 0.25)
    training_flags.define_own([f"--init_from={tmp_path / 'none'}", "--workers=nl=127.0.0.2:7000"])


def test_an_agreement_has_the_flags_of_an_algorithm_of_ones_own(tmp_path):
    """Without them it ended in a KeyError."""
    (tmp_path / "one_to_agree_on.py").write_text(
        """
import dataclasses

from pfrec import settings
from tff_process.algorithms import fedavg


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings, prefix="agreed"):
    rate: float = settings.setting(0.5, "a rate", low=0.0)


def mine(schema, settings=Settings()):
    return dataclasses.replace(fedavg.fedavg(schema), name="mine")
"""
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tff_process.commands.agreement"),
            *("--algorithm=one_to_agree_on:mine", "--helpfull"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{os.getcwd()}:{tmp_path}"},
    )
    assert "--agreed_rate=..." in done.stdout, done.stderr
