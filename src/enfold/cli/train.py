"""``enfold train``: from a file to a trained model in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from enfold.cli import options
from enfold.cli.output import print_json, print_table
from enfold.cli.training_options import SHOWN, arguments_of, run_options, setting_options
from enfold.training.criterion import Criterion

if TYPE_CHECKING:
    from enfold.training.fit import Fitted

__all__ = ["command", "shown_metrics", "start_log"]


@click.command()
@run_options
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files into OUT/tensorboard.")
@setting_options
@options.as_json
@options.debug
def command(tensorboard: bool, as_json: bool, **given: Any) -> None:
    """Trains a model for TASK on the rows of a file, and writes it into a folder with its card and its report.

    FILE is CSV, TSV, JSON lines, Parquet, CoNLL, SQuAD JSON or plain text. Without TASK the columns say what is meant.
    Stopped at any moment, the same command goes on where it was.

    \b
    enfold train text-classification --data reviews.csv --out sentiment
    enfold train ner --data train.conll --evaluation dev.conll --base bert-base-cased --out entities
    enfold train --data spam.tsv --columns label,text --adapter lora --out spam
    enfold train masked-lm --data texts.txt --architecture bert:hidden_size=256,num_hidden_layers=4,\\
        num_attention_heads=4,intermediate_size=1024 --tokenizer wordpiece:8000 --out small-bert
    """
    from enfold.training.fit import fit

    tells = start_log()
    fitted = fit(**arguments_of(given), tensorboard=tensorboard)
    if tells:
        _print(fitted, as_json)


def start_log() -> bool:
    """Shows the log on stderr; whether this process is the one to tell how it goes, of several the first."""
    import logging

    from enfold.training.processes import processes

    tells = processes().is_first
    logging.basicConfig(level=logging.INFO if tells else logging.ERROR, format="%(message)s")
    return tells


def shown_metrics(metrics: Mapping[str, float], first: str) -> dict[str, float]:
    """The metrics that a table shows: the loss, the one that tells the best, and those that are usual."""
    names = dict.fromkeys(("loss", Criterion.of(first).metric, *SHOWN))
    return {name: round(metrics[name], 4) for name in names if name in metrics}


def _print(fitted: Fitted, as_json: bool) -> None:
    seconds = round(fitted.seconds, 1)
    if as_json:
        record: dict[str, Any] = {"task": fitted.task, "steps": fitted.steps, "best_step": fitted.best_step}
        ended = {"seconds": seconds, "stopped": fitted.stopped, "out": str(fitted.folder)}
        print_json({**record, **ended, "metrics": dict(fitted.metrics)})
        return
    kept = f"step {fitted.best_step or fitted.steps} of {fitted.steps}"
    shown = shown_metrics(fitted.metrics, fitted.metric)
    print_table([{"task": fitted.task, "kept": kept, "seconds": str(seconds), **shown}])
    click.echo(f"{fitted.folder} is written; {fitted.folder}/report.html shows how it went", err=True)
