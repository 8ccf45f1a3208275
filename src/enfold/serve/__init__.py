"""Models behind HTTP: one small server that embeds, labels, answers, translates and chats.

::

    client ─▶ gate ─▶ interface ─▶ dispatcher ─▶ queue of a model ─▶ worker process ─▶ hub ─▶ model
              id,     OpenAI, TEI,  429 when full  fair to keys        begun anew       packs what
              key,    hub, Cohere                                      where it dies    many want
              limits
"""

from enfold.serve.server import serve
from enfold.serve.settings import Settings

__all__ = ["Settings", "serve"]
