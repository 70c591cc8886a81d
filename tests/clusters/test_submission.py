import shlex

from darkroom.clusters.submission import Submission, last_attempt

WORDS = ("output.uri=s3://bucket/prefix", 'prompts.pattern=it\'s a $HOME `x` "y" $(z)\nand more')


def test_the_same_words_have_the_same_name() -> None:
    first = Submission("sweep", WORDS)
    assert first.name == f"{first.family}-1"
    assert Submission("sweep", WORDS, 2).family == first.family
    assert Submission("sweep", WORDS[::-1]).family != first.family
    assert Submission("generate", WORDS).family != first.family
    assert first.name.startswith("darkroom-sweep-")
    assert max(len(Submission(job, WORDS, 999).name) for job in ("generate", "evaluate")) <= 47


def test_a_command_is_what_a_shell_reads_back() -> None:
    assert shlex.split(Submission("sweep", WORDS).command("darkroom")) == ["darkroom", "sweep", *WORDS]


def test_attempts_are_counted_by_their_numbers() -> None:
    family = Submission("sweep", WORDS).family
    assert last_attempt(family, []) == 0
    assert last_attempt(family, [f"{family}-2", f"{family}-11", f"{family}-x", f"{family}", "other-99"]) == 11
