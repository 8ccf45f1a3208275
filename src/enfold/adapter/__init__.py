"""The call that the field knows, over packed batches: padded ids in, padded fields out, and a loss."""

from enfold.adapter.call import call
from enfold.adapter.inputs import CallInputs
from enfold.adapter.ops import Callee, Ops

__all__ = ["CallInputs", "Callee", "Ops", "call"]
