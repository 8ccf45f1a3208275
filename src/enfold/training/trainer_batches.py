"""The batches that a Trainer calls its model with: features, padded by the collator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.training.arguments import TrainingArguments
from enfold.training.collators import padded
from enfold.training.tokenized import check_dataset

__all__ = ["Batching"]


class Batching:
    """The half of a Trainer that makes batches of features.

    The loaders are for looking at batches: evaluations read the same ones, training packs features by itself. Deriving
    a class to override them is therefore refused.
    """

    args: TrainingArguments
    model: TorchModel
    data_collator: Any
    train_dataset: Any
    eval_dataset: Any
    _columns: set[str]

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Some features as one padded batch, without columns that the model doesn't know."""
        if self.args.remove_unused_columns:
            rows = [{name: value for name, value in row.items() if name in self._columns} for row in rows]
        if self.data_collator is not None:
            return self.data_collator(rows)
        return padded(rows, self.model.config.get("pad_token_id") or 0)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of what is learnt from, as the collator pads them; their order is not training's.

        Raises:
            InputError: there is no train_dataset.
        """
        shuffled = self.args.train_sampling_strategy != "sequential"
        return self._loader(self.train_dataset, "train_dataset", self.args.per_device_train_batch_size, shuffled)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The batches of an evaluation.

        Args:
            eval_dataset: instead of the Trainer's own; or the name of one of those.

        Raises:
            InputError: there is none.
        """
        return self.get_test_dataloader(self.dataset_of(eval_dataset))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """The batches of a dataset as they are predicted.

        Raises:
            InputError: it is no dataset of features.
        """
        return self._loader(test_dataset, "the dataset", self.args.per_device_eval_batch_size, False)

    def dataset_of(self, given: Any) -> Any:
        """The dataset that an evaluation is to judge by, or several by name.

        Args:
            given: a dataset, the name of one of the Trainer's own, or None for those.

        Raises:
            InputError: there is none, or none of that name.
        """
        if given is None:
            given = self.eval_dataset
        if isinstance(given, str):
            own = self.eval_dataset if isinstance(self.eval_dataset, Mapping) else {}
            if given not in own:
                raise InputError(
                    f"there is no eval_dataset named {given!r}; there is {', '.join(own) or 'none by name'}"
                )
            return own[given]
        if given is None:
            raise InputError("there is nothing to judge by: Trainer(…, eval_dataset=…), or evaluate(dataset)")
        return given

    def _loader(self, dataset: Any, name: str, size: int, shuffled: bool) -> DataLoader[Any]:
        check_dataset(dataset, name)
        return DataLoader(dataset, batch_size=size, shuffle=shuffled, collate_fn=self.collate)
