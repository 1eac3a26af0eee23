"""Policies, critics, encoders, image backbones by name: built in, or of one's own by import path.

A configuration names its kind, so a checkpoint finds its classes again, in any process. To add one:
write a file with a class, and a line in the table of `policy.py`, `critic.py` or `encoder.py`; a
class of one's own package needs no line, its kind is "package.module:Class". That is imported if
the user named it, and used if it is imported already; a checkpoint alone imports nothing.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from softflow.errors import ConfigError
from softflow.utils.imports import follow, require_trusted, trust

Base = TypeVar("Base")

MAX_WIDTH = 16_384
MAX_LAYERS = 256


@dataclass(frozen=True)
class KindConfig:
    """Base of the configurations that name a kind.

    Attributes:
        kind: set by the subclass: the name in the table of kinds, or "package.module:Class". It is
            no setting, but belongs to the class; the JSON form of a configuration names it.
    """

    kind: ClassVar[str]

    @property
    def least_parameters(self) -> int:
        """How many weights such a network has at least, for refusing what fits no memory."""
        return 0

    @property
    def weights_a_token_number(self) -> int:
        """Weights beside those for every number of an observation's tokens, if read end to end."""
        return 0

    def _require_at_least_one(self, sort: str, *names: str, most: int = MAX_WIDTH) -> None:
        """Raise ConfigError unless these sizes lie in [1, most]; `sort` is what messages say."""
        for name in names:
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{sort}.{name} is {value}; it must be at least 1")
            if value > most:
                raise ConfigError(f"{sort}.{name} is {value}; it must be at most {most:,}")

    def _require_rate(self, sort: str, name: str) -> None:
        """Raise ConfigError unless this share lies in [0, 1)."""
        value = getattr(self, name)
        if not 0 <= value < 1:
            raise ConfigError(f"{sort}.{name} is {value}; it must lie in [0, 1)")

    def _require_seed(self, sort: str, name: str) -> None:
        """Raise ConfigError unless a generator takes this seed."""
        value = getattr(self, name)
        if not 0 <= value < 2**63:
            raise ConfigError(f"{sort}.{name} is {value}; it must lie in [0, 2**63)")


class Kinds(Generic[Base]):
    """The classes of one sort; each has its configuration in the attribute `Config`.

    Args:
        what: the sort, for messages: "policy", "critic", "encoder".
        base: what every class of it is derived from; nothing else is ever called.
        built_in: name -> "module:Class", imported when it is asked for.
        option: the word of the command line that names one; by default the sort itself.
    """

    def __init__(
        self, what: str, base: type[Base], built_in: Mapping[str, str], option: str = ""
    ) -> None:
        self.what, self.base, self.built_in = what, base, dict(built_in)
        self.option = f"--{option or what}"

    def find(self, kind: str) -> type[Base]:
        """The class of a kind.

        Raises:
            UntrustedImportError: it is an import path that only a file names.
            ConfigError: there is none of that name, it cannot be imported, or is no class of this
                sort.
        """
        path = self._path(kind)
        if ":" not in path:
            raise ConfigError(f'no {self.what} "{kind:.100}"; {self._hint(kind)}')
        try:
            found = self._followed(path)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f'cannot import the {self.what} "{kind}": {error}; its module must be importable '
                "(installed, in this folder or on PYTHONPATH) and hold that class"
            ) from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ConfigError(
                f'"{kind}" is no {self.what}: {found!r} is not derived from {self.base.__name__}'
            )
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise ConfigError(
                f'the {self.what} "{kind}" cannot be made: it lacks {", ".join(missing)} (see '
                f"{self.base.__name__} in {self.base.__module__})"
            )
        trust(path)
        return found

    def _followed(self, path: str) -> Any:
        """What an import path stands for; of a module that nobody imported yet, if it is trusted.

        A loaded module is the user's own affair, and of it only what lies there is looked at: its
        `__getattr__` might import more.
        """
        module_name, _, name = path.partition(":")
        module = sys.modules.get(module_name)
        if module is not None and path not in self.built_in.values():
            if name not in vars(module):
                raise AttributeError(f"module {module_name!r} has no attribute {name!r}")
            return vars(module)[name]
        if path not in self.built_in.values():
            require_trusted(path, f"the {self.what}", self.option)
        return follow(path)

    def default_config(self, kind: str) -> Any:
        """The configuration of a kind, all numbers at their defaults.

        Raises:
            ConfigError: as `find`.
        """
        return self.config_class(kind)()

    def config_class(self, kind: str) -> type[Any]:
        """The configuration dataclass of a kind.

        Raises:
            ConfigError: as `find`, or the class has none, or one that names another class.
        """
        found = self.find(kind)
        config = getattr(found, "Config", None)
        if not (isinstance(config, type) and issubclass(config, KindConfig)):
            raise ConfigError(
                f'the {self.what} "{kind}" has no configuration; give its class the attribute '
                "Config, a frozen dataclass derived from the base's"
            )
        named = str(getattr(config, "kind", ""))
        if self._path(named) not in (self._path(kind), f"{found.__module__}:{found.__name__}"):
            raise ConfigError(
                f'the configuration of the {self.what} "{kind}" names "{named}" as its kind, and '
                f"that would be trained and loaded in its place; give {found.__name__} a Config "
                f'of its own with kind = "{kind}"'
            )
        return config

    def _path(self, kind: str) -> str:
        return self.built_in.get(kind, kind)

    def _hint(self, kind: str) -> str:
        near = difflib.get_close_matches(kind, self.built_in, 1)
        if near:
            return f'did you mean "{near[0]}"?'
        return f'choose one of {", ".join(sorted(self.built_in))}, or "package.module:Class"'
