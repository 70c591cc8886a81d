"""What a shell passes whole is taken whole, by every key that the schema calls text, of every job and group."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf, StringNode

from darkroom.api.evaluation_options import EvaluationOptions
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import JOBS
from darkroom.jobs.composition import composition
from darkroom.jobs.overrides import composed
from darkroom.jobs.sources import Sources, groups

WHOLE = (
    "my data (v2)/p.csv", "données/p.csv", "it's.csv", "a,b.csv", "a=b.csv", "a&b.csv", "a!b.csv", "true", "007", "1e5",
    " x ", "\\", "a\\", "$HOME", "100%", "a#b", "{}", "{a: 1}", "[x]", "[", "a: b",
    "(worst quality:1.4)", "'a' and 'b'", '"', "a\nb", "${", "${oc.env:HOME}", "\\${x}", "choice(1,2)", "1,2", "?",
    "???x", "/~", "~nobody-of-this-name/x", "日本",
)  # fmt: skip


def nodes(config: DictConfig, above: str = "") -> Iterator[tuple[str, object]]:
    for name in config:
        node = config._get_node(name, validate_access=False)
        if isinstance(node, DictConfig) and not node._is_none():
            yield from nodes(node, f"{above}{name}.")
        else:
            yield f"{above}{name}", node


def leaves(job: str, kind: type | tuple) -> Iterator[tuple[dict[str, str], list[str]]]:
    """(choices of groups, the keys of this type that there are with them); each choice of each group once."""
    for choice in [{}, *({group: name} for group, names in groups(Sources(job)).items() for name in names)]:
        found = nodes(composition(Sources(job), choice))
        yield (
            choice,
            [key for key, node in found if isinstance(node, kind) or (kind is StringNode and key == "prompts.uri")],
        )


NEEDING = {
    "trust_anchors": {"run": "runs/x", "c2pa": "true"}
}  # keys that do nothing without another, beside which others do nothing


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_text_is_taken_whole(job: str) -> None:
    awkward = cycle(WHOLE)
    for choice, keys in leaves(job, StringNode):
        texts = {key: next(awkward) for key in keys if key not in NEEDING}
        used = {"evaluate": "inline"} if job in ("plan", "generate", "sweep") else {}
        used |= {"job": "generate"} if job == "submit" else {}
        used |= {"grid.axes.scheduler": "null"} if job == "sweep" else {}  # beside which a value is refused
        if "prompts.uri" in texts:  # a text, unless it is written as a list or as keys with values
            texts["prompts.uri"] = texts["prompts.uri"].lstrip("[{") or "p.csv"
        config = composed(job, [f"{key}={text}" for key, text in (choice | used | texts).items()])
        assert {key: OmegaConf.select(config, key) for key in texts} == texts
        for key in NEEDING.keys() & set(keys):
            needed = NEEDING[key] | {key: next(awkward)}
            config = composed(job, [f"{name}={text}" for name, text in needed.items()])
            assert OmegaConf.select(config, key) == needed[key]


@pytest.mark.parametrize("text", WHOLE)
def test_any_text_is_taken_whole(text: str) -> None:
    config = composed("status", [f"run={text}"])
    assert config.run == text
    assert OmegaConf.to_container(config, resolve=True)["run"] == text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("'a b'", "a b"),
        ('"a b"', "a b"),
        ("'it\\'s'", "it's"),
        ('"say \\"x\\""', 'say "x"'),
        ("''", ""),
        ("'null'", "null"),
    ],
)
def test_one_pair_of_quotes_is_hydras(given: str, text: str) -> None:
    assert composed("plan", [f"sampling.negative_prompt={given}"]).sampling.negative_prompt == text


@pytest.mark.slow
def test_null_is_none_where_there_may_be_none() -> None:
    assert composed("plan", ["model.revision=null"]).model.revision is None
    assert composed("plan", ["model.revision='null'"]).model.revision == "null"


@pytest.mark.slow
def test_nothing_of_the_environment_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cr3t")
    text = "${oc.env:SECRET}"
    words = [f"sampling.negative_prompt={text}", f'grid.axes.negative_prompt=["{text}"]', f"grid.axes.repo_id=[{text}]"]
    plain = OmegaConf.to_container(composed("sweep", words), resolve=True)
    assert plain["sampling"]["negative_prompt"] == text
    assert plain["grid"]["axes"]["negative_prompt"] == plain["grid"]["axes"]["repo_id"] == [text]


@pytest.mark.slow
def test_home_is_filled_in_for_places_and_nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["prompts=file", "prompts.uri=~/p.csv", "model=diffusers", "model.repo_id=~/m", "output.uri='~/out'",
             "evaluation.reference=~/r", "evaluate=inline", "sampling.negative_prompt=~/n"]  # fmt: skip
    config = composed("generate", words)
    places = (config.prompts.uri, config.model.repo_id, config.output.uri, config.evaluation.reference)
    assert places == tuple(str(tmp_path / name) for name in ("p.csv", "m", "out", "r"))
    assert config.sampling.negative_prompt == "~/n"
    assert composed("report", ["run=~", "output.uri=~/page"]).output.uri == str(tmp_path / "page")


def test_a_name_that_only_starts_with_a_tilde_is_itself() -> None:
    assert composed("status", ["run=~backup-of-nobody"]).run == "~backup-of-nobody"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "words", "said"),
    [
        ("generate", ["model/flux"], "write model=...; did you mean model=flux-dev? Choices are auraflow, "),
        ("generate", ["model/sdx1"], "did you mean model=sdxl?"),
        ("generate", ["model=sd1.5"], "did you mean model=sd15? Choices are auraflow, cogvideox, cogview4, demo"),
        ("sweep", ["grid=guidence"], "did you mean grid=guidance?"),
        ("generate", ["engine.kind=slurm"], "choices are ray, local"),
        ("generate", ["output.layout=webdatasets"], "did you mean webdataset?"),
        ("generate", ["sampling.guidance=7"], "did you mean sampling.guidance_scale? Keys of sampling are scheduler, "),
        ("generate", ["guidance_scale=7"], "did you mean sampling.guidance_scale?"),
        ("generate", ["modle=demo"], "did you mean model?"),
        ("status", ["rum=x"], "did you mean run?"),
        ("generate", ["prompts.uri=x.csv"], "prompts.uri: the key needs prompts=file"),
        ("generate", ["sampling.width=0"], "sampling.width=0 is out of range"),
        ("generate", ["sampling.num_inference_steps=2.5"], "give a whole number"),
        ("generate", ["sampling.num_inference_steps=1,2"], "one value is needed here"),
        ("generate", ["engine.compile=maybe"], "give true or false"),
        ("generate", ["evaluation.metrics=fid"], "give a list"),
        ("generate", ["evaluation.expect=[{figur: a}]"], "Key 'figur' not in 'Expectation'"),
        ("sweep", ["grid.axes.negative_prompt=[café]"], "goes in quotes"),
        ("generate", ["output.uri="], "the value is empty"),
        ("generate", ["model=diffusers", "model.repo_id="], "model.repo_id=: the value is empty; give one"),
        ("sweep", ["grid.axes.scheduler=ddim,dpmpp_2m"], "grid.axes.scheduler=ddim,dpmpp_2m: give a list"),
        ("generate", ["~model"], "no key=value"),
        ("generate", ["+x=1"], "keys cannot be added"),
        ("generate", ["just words"], "no key=value"),
    ],
)
def test_a_word_that_cannot_be_used_is_refused_in_one_line(job: str, words: list[str], said: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        composed(job, words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(DarkroomError) as caught:
        composed("generate", ["model=https://user:s3cr3t@host/model"])
    assert "s3cr3t" not in str(caught.value)


def test_bytes_that_are_no_letters_here_are_refused() -> None:
    with pytest.raises(DarkroomError, match="run: it has bytes that are no letters of this locale"):
        composed("status", ["run=/tmp/\udcc3"])


@pytest.mark.slow
def test_slots_may_be_given_one_by_one() -> None:
    words = ["prompts=template", "prompts.pattern=a {größe} dot", "prompts.slots.größe=[small, large]"]
    assert composed("plan", words).prompts.slots == {"größe": ["small", "large"]}
    more = composed("plan", [*words, "prompts.slots.colour=[red]", "prompts.slots={shape: [dot]}"])
    assert more.prompts.slots == {"größe": ["small", "large"], "colour": ["red"], "shape": ["dot"]}


@pytest.mark.slow
def test_a_group_takes_its_keys_with_values_too() -> None:
    config = composed("sweep", ["model=paint", "sampling={width: 64}", "sampling.height=72", "grid={mode: zip}"])
    assert (config.sampling.width, config.sampling.height, config.grid.mode.value) == (64, 72, "zip")
    with pytest.raises(DarkroomError, match=r"did you mean sampling\.width\?"):
        composed("plan", ["sampling={widht: 64}"])


@pytest.mark.parametrize("text", ["a:b@c", "http://me:secret@host/x", "https://host/?token=abc"])
def test_what_a_model_reads_is_no_address(text: str) -> None:
    config = composed("generate", ["prompts=template", f"sampling.negative_prompt={text}", f"prompts.pattern={text}"])
    assert (config.sampling.negative_prompt, config.prompts.pattern) == (text, text)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("photos, of 2014/*.jpg", "photos, of 2014/*.jpg"),
        ("'2014'", "2014"),
        ("null", None),
        ("[0-9]*/x.jpg", "[0-9]*/x.jpg"),
        ("runs/a#0123456789abcdef", "runs/a#0123456789abcdef"),
        ("[demo, s3://b/coco]", ["demo", "s3://b/coco"]),
        ("{coco: s3://b/coco/*.jpg, mine: '2014'}", {"coco": "s3://b/coco/*.jpg", "mine": "2014"}),
    ],
)
def test_a_reference_is_a_text_taken_whole_or_several(text: str, held: object) -> None:
    config = OmegaConf.to_container(composed("evaluate", ["run=x", f"reference={text}"]))
    assert config["reference"] == held
    assert EvaluationOptions(reference=config["reference"]).reference == held


def test_names_of_references_are_given_once_and_their_addresses_are_texts() -> None:
    for text, said in (("{a: x, a: y}", "a is there twice"), ("{a: 2014}", "2014"), ("[x, y", "reference=.x, y")):
        with pytest.raises(DarkroomError, match=said):
            composed("evaluate", ["run=x", f"reference={text}"])
