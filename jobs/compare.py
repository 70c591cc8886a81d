"""Compare two scored runs image by image; exit code 1 where a metric of b is worse than a's by more than chance."""

from typing import Any

from omegaconf import DictConfig

from darkroom.api import events
from darkroom.api.comparison import chosen_metrics, compare, side
from darkroom.jobs import values
from darkroom.jobs.exits import ExitCode


def run(config: DictConfig) -> ExitCode:
    options = values.comparison(config)
    chosen_metrics(options)  # refused before a run is opened
    a, b = (side(key, config[key], config.endpoint_url) for key in ("a", "b"))
    result = compare(a, b, options, _say)
    print(result.table)
    if result.worse:
        print(f"b is worse than a by {', '.join(result.worse)}")
    return ExitCode.CHECK_FAILED if result.worse else ExitCode.OK


def _say(event: Any) -> None:
    match event:
        case events.Noted(text):
            print(f"note:   {text}")
        case events.ReferenceRead(text):
            print(text)
        case events.PairsCounted():
            most = event.most_compared
            which = f", of which {most:,} at most are compared" if most else ""
            print(f"pairs:  {event.num_pairs:,}, of {event.num_a:,} images in a and {event.num_b:,} in b{which}")
