"""Samplers of other tools: every name of the table is a scheduler that there is, and usual ones are the right ones."""

import pytest

from darkroom.prompts import sampler_names
from darkroom.prompts.sampler_names import scheduler_name
from darkroom.rendering.schedulers import SCHEDULERS


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("Euler a", "", "euler_a"),
        ("DPM++ 2M Karras", "", "dpmpp_2m_karras"),
        ("DPM++ 2M", "Karras", "dpmpp_2m_karras"),
        ("DPM++ 2M", "Automatic", "dpmpp_2m_karras"),
        ("DPM++ 2M", "", "dpmpp_2m"),
        ("Euler", "Automatic", "euler"),
        ("k_euler_ancestral", "", "euler_a"),
        ("euler_ancestral", "normal", "euler_a"),
        ("dpmpp_2m_sde_gpu", "karras", "dpmpp_2m_sde_karras"),
        ("euler", "sgm_uniform", "euler_trailing"),
        ("lcm", "simple", "lcm"),
        ("dpmpp_2m_sde_k", "", "dpmpp_2m_sde_karras"),
        ("kdpm_2_a_k", "", "dpm2_a_karras"),
        ("uni_pc", "simple", "unipc_trailing"),
        ("PLMS", "", "pndm"),
        ("dpmpp_2m_karras", "", "dpmpp_2m_karras"),  # our own
        ("euler_a_trailing", "", "euler_a_trailing"),
    ],
)
def test_usual_names_are_schedulers(sampler: str, schedule: str, expected: str) -> None:
    assert scheduler_name(sampler, schedule) == expected
    assert expected in SCHEDULERS


def test_a_flow_model_has_samplers_of_flows() -> None:
    assert scheduler_name("euler", "simple", is_flow=True) == "flow_euler"
    assert set(sampler_names._FLOW.values()) <= SCHEDULERS.keys()
    assert sampler_names._NAMES.keys() <= SCHEDULERS.keys()


@pytest.mark.parametrize(
    ("sampler", "schedule"), [("DPM++ 3M SDE Karras", ""), ("DPM++ 2M", "Beta"), ("DPM++ 2M SDE", "Automatic")]
)
def test_an_unknown_name_stays_so_that_it_is_refused(sampler: str, schedule: str) -> None:
    assert scheduler_name(sampler, schedule) not in SCHEDULERS
    assert sampler in scheduler_name(sampler, schedule)
