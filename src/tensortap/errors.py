"""What can go wrong, as one tree.

    TensortapError
    ├── UsageError                 the request itself cannot be meant (exit code 2)
    ├── MissingDependencyError     a package is needed that is not installed; says the install line
    ├── SourceError                an input cannot be opened or read
    ├── ModelError                 a model file cannot be used: no model, wrong head, wrong inputs
    │   └── DownloadError          a model of the zoo cannot be fetched; says where to put it by hand
    ├── EngineError                a backend refuses or fails while it runs
    ├── DecodeError                tensors do not have the shape that the decoder was built for, or your own decoder failed
    ├── TapError                   a tap raised; its cause is what it raised
    ├── PluginError                an installed package offers something for tensortap that cannot be loaded
    └── SinkError                  an output cannot be written

Every message says what was asked, what was found and what to try. The command line ends with exit code 2
for a `UsageError` and 1 for all others.
"""

from __future__ import annotations


class TensortapError(Exception):
    """Base of everything that tensortap raises on purpose."""


class UsageError(TensortapError):
    """The request itself cannot be meant: a threshold of 7, two outputs of one name."""


class MissingDependencyError(TensortapError):
    """A package is needed that is not installed; the message holds the install line."""


class SourceError(TensortapError):
    """An input cannot be opened or read."""


class ModelError(TensortapError):
    """A model file cannot be used: not a model, not a pose head, more inputs than one."""


class DownloadError(ModelError):
    """A model of the zoo cannot be fetched: no network, not what was expected, no space."""


class EngineError(TensortapError):
    """An inference backend refuses the request or fails while it runs."""


class DecodeError(TensortapError):
    """The tensors do not have the shape that the decoder was built for."""


class TapError(TensortapError):
    """A tap raised; the cause is what it raised."""


class PluginError(TensortapError):
    """An installed package offers something for tensortap that cannot be loaded."""


class SinkError(TensortapError):
    """An output cannot be written."""
