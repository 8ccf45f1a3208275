"""Everything that decides a model's tensors, before any engine has made them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from enfold.arch import Architecture
from enfold.checkpoint.files import Weights, open_weights
from enfold.checkpoint.load import Loaded, differ, load_tensors
from enfold.checkpoint.names import checkpoint_names
from enfold.config import Config
from enfold.families import Family, family_of
from enfold.heads import Head, HeadKind
from enfold.layout import layout
from enfold.leaves import Leaf, Output, computed_tensors, tensor_shapes

__all__ = ["Blueprint"]

logger = logging.getLogger("enfold")

ENCODER = Head()


@dataclass(frozen=True)
class Blueprint:
    """A family, a configuration and a head, and the leaves that follow from them."""

    family: Family
    config: Config
    kind: HeadKind
    head: Head
    arch: Architecture
    leaves: tuple[Leaf, ...]

    @classmethod
    def of(cls, config: Config, kind: HeadKind) -> Blueprint:
        """The blueprint of a configuration with a head."""
        family = family_of(config.model_type)
        head = family.head(kind) if kind != "encoder" else replace(ENCODER, starts_with=family.head("base").starts_with)
        arch = family.translate(config)
        leaves = layout(arch, head, num_labels=config.num_labels)
        return cls(family, config, kind, head, arch, leaves)

    @property
    def class_name(self) -> str:
        """``BertForMaskedLM``."""
        return self.family.class_name("base" if self.kind == "encoder" else self.kind)

    def settled(self, folder: Path) -> Blueprint:
        """This blueprint, but untied where the folder's weights hold an output of their own.

        The file decides, not the configuration: so T5 1.1 comes from newer releases of the reference.
        """
        branch = next((branch for branch in self.head.branches if branch.outputs == "vocabulary"), None)
        if branch is None or not self.arch.tied_output or "tied_bias" in branch.names:
            return self
        output = next(leaf for leaf in self.leaves if isinstance(leaf, Output) and leaf.tied_to)
        words = checkpoint_names(self.family, self.head, [f"{output.tied_to}.weight"])[f"{output.tied_to}.weight"]
        if not differ(open_weights(folder), self.family, words, f"{branch.names['output']}.weight"):
            return self
        arch = replace(self.arch, tied_output=False)
        return replace(self, arch=arch, leaves=layout(arch, self.head, num_labels=self.config.num_labels))

    def load(self, folder: Path | Weights, new_head: bool | None) -> Loaded:
        """The folder's tensors for this blueprint; see :func:`enfold.checkpoint.load.load_tensors`."""
        shapes, computed = tensor_shapes(self.leaves), computed_tensors(self.leaves)
        loaded = load_tensors(
            folder,
            self.family,
            self.config,
            self.kind,
            self.head,
            shapes,
            heads=self.arch.num_heads,
            computed=computed,
            new_head=new_head,
        )
        if loaded.fresh:
            names = checkpoint_names(self.family, self.head, loaded.fresh).values()
            logger.warning(
                "%s: %s made fresh and not trained: %s",
                self.class_name,
                "tensor" if len(names) == 1 else "tensors",
                ", ".join(name.replace("@", f"{self.family.prefix}." if self.family.prefix else "") for name in names),
            )
        return loaded
