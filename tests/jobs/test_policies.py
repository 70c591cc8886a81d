"""A policy on the command line: what is refused, what is told, and the command that makes the run again."""

import json
import re
import shlex
from pathlib import Path

import pytest

from darkroom.api.run import open_run
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.overrides import composed
from darkroom.jobs.values import check
from darkroom.reporting.building import ReportOptions, build
from tests.jobs.helpers import PAINT, run_here

POLICY = (
    "evaluation.extractors=[darkroom.evaluation.sharpness:make]",
    "policy=[{figure: score, above: 40000, then: regenerate, attempts: 2}, {by: score, of: 3}]",
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x", "policy=x: give a list"),
        ("[x]", r"policy\[0\]='x': give a dict"),
        ("[{figur: a}]", r"policy\[0\]: no option 'figur'; did you mean figure"),
        ("[{figure: a, above: high, then: drop}]", "above='high': give a number"),
        ("[{figure: a, above: 1, then: blacken}]", "policy.then=blacken: no such choice; choices are keep, drop"),
        (
            "[{figure: a, above: 1, then: regenerate, attempts: 2000}]",
            "attempts=2000 is out of range; give a number from 2",
        ),
    ],
)
def test_an_entry_that_says_nothing_is_refused_as_it_is_read(value: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        check(composed("plan", [f"policy={value}"]))


@pytest.mark.slow
def test_plan_and_status_tell_what_a_policy_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*PAINT, *POLICY, "prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [cat, dog, cow, owl]}"]
    words += [f"output.uri={tmp_path}/run", "engine.price_per_hour=2"]
    assert run_here("plan", *words) == 0
    assert "12 to 24 images are made for these 4" in capsys.readouterr().out
    code = run_here("generate", *words)
    said = capsys.readouterr().out
    assert re.search(r"\d+ more images were made and rejected by the run's policy:", said)
    run = open_run(f"{tmp_path}/run")
    count = run.status().policy
    assert code == (0 if count.num_accepted == 4 else 3)
    run_here("status", f"run={run.uri}")
    run_here("status", f"run={run.uri}", "json=true")
    lines, told = capsys.readouterr().out.split("\n{", 1)
    assert f"accepted:  {count}" in lines
    assert json.loads("{" + told)["rejected_images"] == dict(count.reasons)

    content = build(run.store, run.info, run.cells, ReportOptions())
    [seen] = content.acceptances
    assert (seen.num_accepted, seen.num_made, seen.why) == (count.num_accepted, count.num_made, dict(count.reasons))
    program, job, *again = shlex.split(content.command)
    assert (program, job) == ("darkroom", "generate")
    assert composed(job, again).policy == run.info.policy.entries  # type: ignore[union-attr]
    assert run_here(job, *again) == code
    assert "1 of 1 shards are committed already" in capsys.readouterr().out
