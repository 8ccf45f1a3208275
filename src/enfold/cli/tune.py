"""``enfold tune``: from a file to the best of many trained models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from enfold.cli import options
from enfold.cli.output import print_json, print_table
from enfold.cli.train import shown_metrics, start_log
from enfold.cli.training_options import arguments_of, run_options, setting_options

if TYPE_CHECKING:
    from enfold.training.space import Range
    from enfold.training.tune import Tuned

__all__ = ["command"]

_EXPECTED = "expected learning_rate=1e-5..1e-3,log, or warmup=0..0.2,step=0.05, or batch_size=8,16,32"
_WORDS = {"none": None, "true": True, "false": False}


@click.command()
@run_options
@click.option("--trials", type=int, default=20, show_default=True, help="How many there are to be, with those in OUT.")
@click.option(
    "--search",
    "searched",
    multiple=True,
    metavar="NAME=VALUES",
    help="What a setting may be: learning_rate=1e-5..1e-3,log or batch_size=8,16,32; may be repeated. By default "
    "learning rate, batch size, weight decay, warm-up and dropout.",
)
@click.option("--prune/--no-prune", default=True, show_default=True, help="Give up trials that are behind the others.")
@setting_options
@options.as_json
@options.debug
def command(trials: int, searched: tuple[str, ...], prune: bool, as_json: bool, **given: Any) -> None:
    """Searches the settings that a model learns TASK best with, and writes the best model into a folder.

    Each trial trains on the rows of FILE, which may be what enfold train reads; OUT/search.html shows them all. Stopped
    at any moment, the same command goes on where it was; with more --trials it goes on longer. What isn't searched is
    set by options, and what an option sets to another value than its default isn't searched by default.

    \b
    enfold tune --data reviews.csv --out sentiment
    enfold tune ner --data train.conll --evaluation dev.conll --base bert-base-cased --out entities \\
        --trials 30 --epochs 4 --search learning_rate=1e-5..3e-4,log --search batch_size=8,16,32
    enfold tune --data spam.tsv --columns label,text --adapter lora --search adapter.rank=4,8,16 --out spam
    """
    from enfold.training.tune import tune

    tells = start_log()
    space = _space(searched) if searched else None
    tuned = tune(**arguments_of(given), trials=trials, space=space, prune=prune)
    if tells:
        _print(tuned, as_json)


def _space(given: tuple[str, ...]) -> dict[str, Range | list[Any]]:
    """What is searched, by the names of settings."""
    found: dict[str, Range | list[Any]] = {}
    for each in given:
        name, sign, values = each.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name or not values.strip():
            raise click.BadParameter(f"{each!r}: {_EXPECTED}", param_hint="--search")
        if name in found:
            raise click.BadParameter(f"{name} is given twice: list all of its values at once", param_hint="--search")
        found[name] = _range(each, values) if ".." in values else [_value(part) for part in values.split(",")]
    return found


def _range(given: str, text: str) -> Range:
    from enfold.training.space import Range

    ends, *more = (part.strip() for part in text.split(","))
    low, _, high = ends.partition("..")
    first, last = _value(low), _value(high)
    step = next((_value(part[5:]) for part in more if part.startswith("step=")), None)
    known = all(part == "log" or part.startswith("step=") for part in more) and len(more) < 2
    if not known or not all(isinstance(each, int | float) for each in (first, last, 0 if step is None else step)):
        raise click.BadParameter(f"{given!r}: {_EXPECTED}", param_hint="--search")
    return Range(first, last, log="log" in more, step=step)


def _value(text: str) -> Any:
    """A number, where it is one; None, True, False; or the text."""
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return _WORDS.get(text.lower(), text)


def _print(tuned: Tuned, as_json: bool) -> None:
    from enfold.training.space import plain

    best = tuned.best
    record: dict[str, Any] = {"task": tuned.task, "trials": len(tuned.trials), "best": best.number}
    if as_json:
        found = {"values": plain(best.values), "metric": tuned.metric, "metrics": dict(tuned.metrics)}
        print_json({**record, **found, "out": str(tuned.folder)})
        return
    values = {name: _exact(value) for name, value in best.values.items()}
    which = {"best": f"trial {best.number} of {len(tuned.trials)}"}
    print_table([{**which, **shown_metrics(tuned.metrics, tuned.metric), **values}])
    click.echo(f"{tuned.folder} is written; {tuned.folder}/search.html shows all trials", err=True)


def _exact(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
