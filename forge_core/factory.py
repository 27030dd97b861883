"""Models a project defines itself, beside the trainers that are installed: the same names, used the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from forge_core.catalog import Catalog
from forge_core.contracts.trainer import Trainer
from forge_core.drivers import load
from forge_core.faults import ConfigError, Conflict

T = TypeVar("T", bound=type[Trainer])


class ModelFactory:
    """Trainers by name: those of entry points, plus local ones. A local name may not hide an installed one."""

    _local: dict[str, type[Trainer]] = {}  # noqa: RUF012 - the process's registry, filled by `register_model`

    @classmethod
    def register(cls, name: str, trainer: type[Trainer]) -> type[Trainer]:
        """Make `trainer` usable as `type: name`. The same class may come again (a module reloaded); another is a `Conflict`."""
        known = cls._local.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (trainer.__module__, trainer.__qualname__):
            raise Conflict(f"the model {name!r} is already {known.__module__}.{known.__qualname__}", "give one of them another name")
        if not (isinstance(trainer, type) and issubclass(trainer, Trainer)):
            raise ConfigError(f"the model {name!r} is no Trainer", "subclass forge_core.contracts.Trainer")
        installed = [ref for ref in Catalog.scan().ready("trainer") if ref.name == name]
        if installed:
            raise Conflict(f"the trainer {name!r} is offered by {installed[0].distribution}", "give it another name")
        cls._local[name] = trainer
        return trainer

    @classmethod
    def create(cls, name: str, **settings: Any) -> Trainer:
        """An instance outside a project, without collaborators; inside one the kernel builds it."""
        from forge_core.wiring import build

        def nothing(kind: Any, optional: bool) -> None:
            if not optional:
                raise ConfigError(f"the model {name!r} needs {kind!r}", "open a project: Kernel.open(..).driver('trainer', name)")

        found: type[Trainer] = cls.local(name) or load(Catalog.scan(), "trainer", name)
        return build(found, settings, nothing)

    @classmethod
    def list_available(cls) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted({*cls._local, *(ref.name for ref in Catalog.scan().ready("trainer"))}))

    @classmethod
    def local(cls, name: str) -> type[Trainer] | None:
        return cls._local.get(name)

    @classmethod
    def modules(cls) -> Mapping[str, str]:
        """Where each local model is defined."""
        return {name: trainer.__module__ for name, trainer in cls._local.items()}


def register_model(name: str) -> Callable[[T], T]:
    """Register a `Trainer` of the project itself; the module is named in forge.yaml under `plugins: {local: [..]}`.

    Example::

        @register_model("mean")
        class Mean(Trainer): ...
    """

    def register(trainer: T) -> T:
        ModelFactory.register(name, trainer)
        return trainer

    return register


def name_of(model: object) -> str:
    """The registered name of a trainer's class or instance."""
    kind = model if isinstance(model, type) else type(model)
    for name, known in ModelFactory._local.items():
        if known is kind:
            return name
    for ref in Catalog.scan().ready("trainer"):
        if ref.target == f"{kind.__module__}:{kind.__qualname__}":
            return ref.name
    raise ConfigError(f"{kind.__qualname__} is not a registered model", "register it: @register_model('name')")
