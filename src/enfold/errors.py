"""Every error that enfold raises on purpose.

::

    EnfoldError
    ├── ConfigError             (ValueError)    a config.json no architecture can be built from
    ├── CheckpointError         (ValueError)    files that hold weights
    │   ├── CorruptFileError                    truncated, damaged, not the format its name says
    │   ├── UnsafeFileError                     would run code or leave its folder if it were trusted
    │   └── TensorMismatchError                 missing, unexpected or misshapen tensors, all listed
    ├── SourceError             (OSError)       a model that can't be found or fetched
    │   └── OfflineError                        it would have to be fetched, and fetching is off
    ├── TokenizerError          (ValueError)    tokenizer files or tokenizer settings
    ├── InputError              (ValueError)    what the caller handed over: texts, ids, labels, options
    │   └── TextTooLongError                    a text over the model's limit with ``long="error"``
    ├── UntrainedHeadError      (RuntimeError)  an answer was asked of a head that was never trained
    ├── NumericalError          (ArithmeticError)  a model whose numbers are not numbers
    ├── TaskError               (ValueError)    an unknown task, or a model that can't do the task
    └── MissingDependencyError  (ImportError)   an optional package is needed for this

Each also derives from the builtin in brackets, so code that catches that one keeps working. A message says
what was given, what was expected and what to do next.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CorruptFileError",
    "EnfoldError",
    "InputError",
    "MissingDependencyError",
    "NumericalError",
    "OfflineError",
    "SourceError",
    "TaskError",
    "TensorMismatchError",
    "TextTooLongError",
    "TokenizerError",
    "UnsafeFileError",
    "UntrainedHeadError",
]


class EnfoldError(Exception):
    """The root: ``except EnfoldError`` catches every deliberate failure of this library."""


class ConfigError(EnfoldError, ValueError):
    """A configuration that no architecture can be built from."""


class CheckpointError(EnfoldError, ValueError):
    """Something is wrong with files that hold weights."""


class CorruptFileError(CheckpointError):
    """A file is truncated, damaged, or not of the format that its name says."""


class UnsafeFileError(CheckpointError):
    """A file that would run code or write outside its folder if it were trusted."""


class TensorMismatchError(CheckpointError):
    """Tensors that a model needs are missing, of the wrong shape, or nobody's. The message lists them all."""


class SourceError(EnfoldError, OSError):
    """A model can't be found or fetched."""


class OfflineError(SourceError):
    """A model is not in the cache and fetching was switched off."""


class TokenizerError(EnfoldError, ValueError):
    """Tokenizer files or settings that no tokenizer can be built from."""


class InputError(EnfoldError, ValueError):
    """Texts, ids, labels or options that can't be used as they are."""


class TextTooLongError(InputError):
    """A text is over the model's limit and the caller asked for an error in that case."""


class NumericalError(EnfoldError, ArithmeticError):
    """A model computed NaN, which no text can be chosen by."""


class UntrainedHeadError(EnfoldError, RuntimeError):
    """A head with fresh random weights was asked for an answer."""


class TaskError(EnfoldError, ValueError):
    """An unknown task, or a model that can't do it."""


class MissingDependencyError(EnfoldError, ImportError):
    """An optional package is needed."""
