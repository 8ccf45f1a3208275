"""A server's life: it binds, loads, answers, and ends when told to, once what runs is finished."""

from __future__ import annotations

import math
import signal
import socket
from collections.abc import Callable, Iterable
from types import FrameType

import uvicorn

from enfold.errors import InputError
from enfold.serve.app import make_app
from enfold.serve.dispatch import Dispatcher
from enfold.serve.logs import start_log
from enfold.serve.metrics import Metrics
from enfold.serve.protocol import protocol_of
from enfold.serve.settings import Settings

__all__ = ["serve"]


_FAREWELL_S = 2
"""For the last answers, which say that the server ended before they were whole."""


class _Server(uvicorn.Server):
    """uvicorn's, which tells the dispatcher that the end has begun, and ends with status 0 where it was told to."""

    def __init__(self, config: uvicorn.Config, dispatcher: Dispatcher) -> None:
        super().__init__(config)
        self._dispatcher = dispatcher

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._dispatcher.drain()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(
    models: Iterable[str], settings: Settings | None = None, *, dtype: str = "auto",
    told: Callable[[str], None] | None = None,
) -> None:  # fmt: skip
    """Serves models until the process is told to end (SIGTERM, Ctrl-C).

    Args:
        models: sources as :func:`enfold.pipeline` takes them, or ``NAME=SOURCE``.
        settings: limits and addresses.
        dtype: as :func:`enfold.pipeline` takes it.
        told: told the address, as soon as it answers there.

    Raises:
        InputError: no models, two of one name, none that could be loaded, a port that is taken, files of TLS, keys or
            the log that can't be opened.
    """
    settings = settings or Settings()
    metrics = Metrics()
    dispatcher = Dispatcher(models, dtype, settings, metrics)
    if not dispatcher.catalog.models:
        raise InputError("there is no model to serve: name one or more")
    listening = _listen(settings)
    try:
        start_log(settings.log_file)
        config = uvicorn.Config(
            make_app(dispatcher),
            http=protocol_of(settings),
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=math.ceil(settings.grace_s) + _FAREWELL_S,
            timeout_keep_alive=75,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.private_key,
            server_header=False,
        )
        config.load()
    except (OSError, InputError) as error:
        listening.close()
        raise InputError(f"the server can't begin: {error}") from error
    scheme = "https" if settings.certificate else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if told:
        told(f"{scheme}://{host}:{listening.getsockname()[1]}")
    running = _Server(config, dispatcher)
    dispatcher.given_up = lambda: running.handle_exit(signal.SIGTERM, None)
    running.run(sockets=[listening])
    if reason := dispatcher.catalog.hopeless:
        raise InputError(f"no model could be loaded: {reason}")


def _listen(settings: Settings) -> socket.socket:
    """The port, bound.

    Raises:
        InputError: it is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # the protocol is named, or else asyncio leaves small packets waiting for each other (no TCP_NODELAY)
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"can't listen on {settings.host} port {settings.port}: {error.strerror or error}; choose another with "
            "--port, 0 for any that is free"
        ) from error
    listening.listen(2048)
    return listening
