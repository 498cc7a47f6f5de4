"""What an automatic precision comes to."""

import dataclasses

import pytest

from pfrec import errors, run_directory
from pfrec.models import precision
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.training import automatic, beginning

NARROW = plan_lib.Plan("fedavg", precision="auto")
WIDE = dataclasses.replace(NARROW, model=ModelConfig(expert_units=(64, automatic.WIDTH)))


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Makes this processor one of these flags."""
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "cpuinfo")
    return lambda flags: (tmp_path / "cpuinfo").write_text(f"flags : fpu {flags}\n")


@pytest.mark.parametrize(
    ("asked", "flags", "expected", "why"),
    [
        (WIDE, "avx512_bf16", "bfloat16", "train faster by it"),
        (WIDE, "avx2", "float32", "no bfloat16 products"),
        (NARROW, "avx512_bf16", "float32", "narrower than"),
        (dataclasses.replace(WIDE, algorithm="pooled_mmoe"), "avx512_bf16", "float32", "pooled"),
        (dataclasses.replace(WIDE, dp_epsilon=8.0), "avx512_bf16", "float32", "single rows"),
    ],
)
def test_a_run_begins_with_what_is_faster_and_says_why(processor, asked, flags, expected, why):
    processor(flags)
    plan = automatic.resolved(asked, None)
    assert plan == dataclasses.replace(asked, precision=expected)
    told = automatic.told(asked, plan, resumes=False)
    assert told.startswith(f"precision: {expected}, ")
    assert why in told


@pytest.mark.parametrize("off", ["0", "false", "False"])
def test_without_onednn_it_is_float32(processor, monkeypatch, off):
    processor("avx512_bf16")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", off)
    assert automatic.resolved(WIDE, None).precision == "float32"


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_what_is_asked_for_by_name_stays(processor, name):
    processor("avx512_bf16")
    plan = dataclasses.replace(NARROW, precision=name)
    assert automatic.resolved(plan, None) is plan
    assert not automatic.told(plan, plan, resumes=False)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_run_that_goes_on_has_what_it_began_with(processor, dataset, tmp_path, name):
    """On whatever processor it goes on."""
    begun = dataclasses.replace(WIDE, precision=name)
    run_directory.RunDirectory.create(
        tmp_path / "run", {**beginning.config(begun, dataset), "data": None}
    )
    processor("avx2" if name == "bfloat16" else "avx512_bf16")
    plan = automatic.resolved(WIDE, tmp_path / "run")
    assert plan == begun
    assert automatic.told(WIDE, plan, resumes=True) == f"precision: {name}, as the run began"
    # As a comparison looks at runs that are there.
    beginning.check_same(tmp_path / "run", WIDE, dataset)
    other = dataclasses.replace(WIDE, precision="float32" if name == "bfloat16" else "bfloat16")
    with pytest.raises(
        errors.PfrecError, match=f"precision was '{name}' and is '{other.precision}'"
    ):
        beginning.check_same(tmp_path / "run", other, dataset)
