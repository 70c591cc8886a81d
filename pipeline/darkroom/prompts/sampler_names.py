"""What other tools call samplers -> the scheduler that is the same here: one table for all of them.

AUTOMATIC1111 and Forge have a sampler and a schedule type (in older versions in one name), ComfyUI and SwarmUI a
sampler_name and a scheduler, InvokeAI one name that ends in _k for Karras's noise levels. A name that is in no table
stays as it is, and is refused where schedulers are checked, with those that fit the model.
"""

import re
from collections.abc import Mapping, Sequence

# Scheduler here -> other tools' samplers, in lower case with their words joined by "_", as names are compared.
_NAMES = {
    "euler": ("euler",),
    "euler_a": ("euler_a", "euler_ancestral"),
    "heun": ("heun",),
    "lms": ("lms",),
    "dpm2": ("dpm2", "dpm_2", "kdpm_2"),
    "dpm2_a": ("dpm2_a", "dpm_2_a", "dpm_2_ancestral", "kdpm_2_a"),
    "dpmpp_2m": ("dpm++_2m", "dpmpp_2m"),
    "dpmpp_2m_sde": ("dpm++_2m_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu"),
    "dpmpp_sde": ("dpm++_sde", "dpmpp_sde", "dpmpp_sde_gpu"),
    "dpmpp_2s": ("dpm++_2s", "dpmpp_2s"),
    "ddim": ("ddim",),
    "ddpm": ("ddpm",),
    "pndm": ("plms", "pndm"),
    "unipc": ("unipc", "uni_pc", "uni_pc_bh2"),
    "deis": ("deis",),
    "lcm": ("lcm",),
    "tcd": ("tcd",),
}
# How the scheduler's name ends -> schedules. Those that begin at training's last timestep are diffusers' "trailing".
_ENDINGS = {
    "": ("", "normal", "uniform", "discrete", "ddim_uniform"),
    "_karras": ("karras",),
    "_trailing": ("sgm_uniform", "simple"),
}
# What the web UI means by "Automatic": the schedule -> of these schedulers; of all others the plain one.
_AUTOMATIC = {"karras": ("dpmpp_2m", "dpmpp_sde", "dpm2", "dpm2_a"), "exponential": ("dpmpp_2m_sde",)}
_WITHOUT_TRAILING = ("lcm", "tcd", "pndm")  # whose timesteps are their distillation's, or of their order
_FLOW = {"euler": "flow_euler", "heun": "flow_heun", "unipc": "flow_unipc", "lcm": "flow_lcm"}
_KARRAS = re.compile(r"_(k|ka|karras)$")  # at the end of a sampler's name


def _inverted(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {other: ours for ours, others in names.items() for other in others}


_SAMPLERS, _SCHEDULES, _MEANT = _inverted(_NAMES), _inverted(_ENDINGS), _inverted(_AUTOMATIC)


def scheduler_name(sampler: str, schedule: str = "", is_flow: bool = False) -> str:
    """The scheduler here of a tool's names, or these names where there is none.

    `is_flow`: the model is of flow matching, as far as the tool tells.
    """
    name, levels = _word(sampler).removeprefix("k_"), _word(schedule)
    short = _KARRAS.sub("", name)
    if short in _SAMPLERS and short != name:
        name, levels = short, "karras"
    found = _SAMPLERS.get(name)
    if found is None:
        return " ".join(filter(None, (sampler.strip(), schedule.strip())))
    if is_flow:
        return _FLOW.get(found, sampler.strip())
    ending = _SCHEDULES.get(_MEANT.get(found, "") if levels == "automatic" else levels)
    if ending is None:
        return f"{sampler.strip()} {_MEANT[found] if levels == 'automatic' else schedule.strip()}"
    return found if ending == "_trailing" and found in _WITHOUT_TRAILING else f"{found}{ending}"


def _word(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip().lower())
