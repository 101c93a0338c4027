"""LightningCLI: a command line and configuration files for a module, a data module and the Trainer.

``LightningCLI(Model, Data)`` at the end of a program makes of the types and docstrings of their ``__init__`` a command
line: ``python program.py fit --config c.yaml --trainer.max_epochs 3``. The parsing is jsonargparse's, which
``pip install "fulmen[cli]"`` brings.

This file is longer than 400 lines because it has each of the methods that programs of the field override.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau as _TorchReduceLROnPlateau

import fulmen
from fulmen.advice import advise
from fulmen.callback import Callback
from fulmen.checkpoint.format import read_checkpoint
from fulmen.datamodule import LightningDataModule
from fulmen.errors import MisconfigurationException, MissingPackageError
from fulmen.hooks import is_overridden
from fulmen.hyperparameters import given_hyperparameters
from fulmen.module import LightningModule
from fulmen.registry import CALLBACKS, LOGGERS, installed, load
from fulmen.seed import seed_everything
from fulmen.trainer import Trainer

try:
    from jsonargparse import (  # type: ignore[attr-defined]  # it exports them by a list that is computed
        ActionConfigFile,
        ArgumentParser,
        Namespace,
        class_from_function,
    )
except ImportError as error:
    raise MissingPackageError('LightningCLI needs jsonargparse: pip install "fulmen[cli]"') from error

#: what ``args`` may be: words of a command line, or values by key
ArgsType: TypeAlias = list[str] | dict[str, Any] | Namespace | None
#: types for arguments of a module's ``__init__`` that make an optimizer or scheduler later
OptimizerCallable: TypeAlias = Callable[[Any], Optimizer]

_AUTOMATIC = "AUTOMATIC"


class ReduceLROnPlateau(_TorchReduceLROnPlateau):
    """torch's scheduler together with the logged key that it looks at, so that a configuration file can name both."""

    def __init__(self, optimizer: Optimizer, monitor: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, *args, **kwargs)
        self.monitor = monitor


LRSchedulerCallable: TypeAlias = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]
_SCHEDULERS = (LRScheduler, ReduceLROnPlateau)


class LightningArgumentParser(ArgumentParser):
    """jsonargparse's parser, which also takes the arguments of modules, trainers, callbacks and optimizers."""

    def __init__(
        self,
        *args: Any,
        description: str = "Lightning Trainer command line tool",
        env_prefix: str = "PL",
        default_env: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, description=description, env_prefix=env_prefix, default_env=default_env, **kwargs)
        #: keys whose callbacks go to the trainer
        self.callback_keys: list[str] = []
        # key -> what was added there, and the argument that it is linked to
        self._optimizers: dict[str, tuple[type | tuple[type, ...], str]] = {}
        self._lr_schedulers: dict[str, tuple[type | tuple[type, ...], str]] = {}

    def add_lightning_class_args(
        self, lightning_class: Any, nested_key: str, subclass_mode: bool = False, required: bool = True
    ) -> list[str]:
        """Add the arguments of a Trainer, module, data module or callback.

        Args:
            lightning_class: the class, or a function that returns an object of it.
            nested_key: the key that they stand below.
            subclass_mode: let the user choose a subclass.
            required: whether the user must.

        Returns:
            The names of the arguments.

        Raises:
            MisconfigurationException: it is something else.
        """
        cls = lightning_class if isinstance(lightning_class, type) else _class_of_function(lightning_class)
        if not issubclass(cls, (Trainer, LightningModule, LightningDataModule, Callback)):
            raise MisconfigurationException(
                f"`add_lightning_class_args` takes a Trainer, LightningModule, LightningDataModule or Callback class, "
                f"or a function that returns such an object, but got {lightning_class!r:.80}"
            )
        if issubclass(cls, Callback):
            self.callback_keys.append(nested_key)
        if subclass_mode:
            added = self.add_subclass_arguments(cls, nested_key, fail_untyped=False, required=required)
        else:
            added = self.add_class_arguments(
                cls, nested_key, fail_untyped=False, instantiate=not issubclass(cls, Trainer), sub_configs=True
            )
        return list(added or ())

    def add_optimizer_args(
        self,
        optimizer_class: type[Optimizer] | tuple[type[Optimizer], ...] = (Optimizer,),
        nested_key: str = "optimizer",
        link_to: str = _AUTOMATIC,
    ) -> None:
        """Add the arguments of an optimizer.

        Args:
            optimizer_class: the class; a tuple lets the user choose a subclass.
            nested_key: the key that they stand below.
            link_to: an argument of the module that gets them, or ``"AUTOMATIC"`` to make ``configure_optimizers``.
        """
        self._add_later(optimizer_class, nested_key, "params")
        self._optimizers[nested_key] = (optimizer_class, link_to)

    def add_lr_scheduler_args(
        self,
        lr_scheduler_class: type | tuple[type, ...] = _SCHEDULERS,
        nested_key: str = "lr_scheduler",
        link_to: str = _AUTOMATIC,
    ) -> None:
        """Add the arguments of a learning-rate scheduler; see :meth:`add_optimizer_args`."""
        self._add_later(lr_scheduler_class, nested_key, "optimizer")
        self._lr_schedulers[nested_key] = (lr_scheduler_class, link_to)

    def _add_later(self, cls: type | tuple[type, ...], key: str, first: str) -> None:
        """Add the arguments of what is made later, when its first argument exists."""
        options: dict[str, Any] = {"instantiate": False, "fail_untyped": False, "skip": {first}}
        if isinstance(cls, tuple):
            self.add_subclass_arguments(cls, key, **options)
        else:
            self.add_class_arguments(cls, key, sub_configs=True, **options)


class SaveConfigCallback(Callback):
    """Writes the whole configuration of a command line beside the run's other files.

    Args:
        parser: what parsed it.
        config: what was parsed.
        config_filename: the file's name.
        overwrite: replace a file that is there.
        multifile: write several files where the configuration came from several.
        save_to_log_dir: write the file; ``False`` where :meth:`save_config` does all.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = True,
    ) -> None:
        self.parser = parser
        self.config = config
        self.config_filename = config_filename
        self.overwrite = overwrite
        self.multifile = multifile
        self.save_to_log_dir = save_to_log_dir
        self.already_saved = False
        if not save_to_log_dir and not is_overridden("save_config", self, SaveConfigCallback):
            raise ValueError(
                "`save_to_log_dir=False` leaves nothing to do; override `SaveConfigCallback.save_config`, or pass "
                "save_config_callback=None"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file once, when the first entry point begins."""
        if self.already_saved or not trainer.is_global_zero:
            return
        if self.save_to_log_dir:
            path = os.path.join(trainer.log_dir, self.config_filename)
            if os.path.isfile(path) and not self.overwrite:
                raise RuntimeError(
                    f"{path} is there already, from an earlier run; remove it, or pass "
                    'save_config_kwargs={"overwrite": True} or save_config_callback=None to LightningCLI'
                )
            os.makedirs(trainer.log_dir, exist_ok=True)
            self.parser.save(self.config, path, skip_unset=False, overwrite=self.overwrite, multifile=self.multifile)
        self.save_config(trainer, pl_module, stage)
        self.already_saved = True

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Override it to keep the configuration elsewhere too; runs in the first process only."""


class LightningCLI:
    """Reads a command line, makes module, data module and trainer of it, and runs what it names.

    Args:
        model_class: the module's class, or a function that returns a module; ``None`` lets the user name any with
            ``--model``.
        datamodule_class: the same for the data module, with ``--data``.
        save_config_callback: the callback that keeps the configuration; ``None`` for none.
        save_config_kwargs: its further arguments.
        trainer_class: the Trainer's class, or a function that returns a Trainer.
        trainer_defaults: arguments of the Trainer other than its own defaults; callbacks among them are always there.
        seed_everything_default: the seed where none is given; ``True`` for the environment's or 0, ``False`` for none.
        parser_kwargs: arguments of the parser, or of the one of each subcommand by its name.
        parser_class: the parser's class.
        subclass_mode_model: let the user choose a subclass of ``model_class``.
        subclass_mode_data: let the user choose a subclass of ``datamodule_class``.
        args: what to parse in place of ``sys.argv``.
        run: ``False`` makes the objects, and runs nothing.
        auto_configure_optimizers: let ``--optimizer`` and ``--lr_scheduler`` make ``configure_optimizers``.
        load_from_checkpoint_support: let ``save_hyperparameters`` keep what was written, not the objects made of it.
    """

    def __init__(
        self,
        model_class: type[LightningModule] | Callable[..., LightningModule] | None = None,
        datamodule_class: type[LightningDataModule] | Callable[..., LightningDataModule] | None = None,
        save_config_callback: type[SaveConfigCallback] | None = SaveConfigCallback,
        save_config_kwargs: dict[str, Any] | None = None,
        trainer_class: type[Trainer] | Callable[..., Trainer] = Trainer,
        trainer_defaults: dict[str, Any] | None = None,
        seed_everything_default: bool | int = True,
        parser_kwargs: dict[str, Any] | None = None,
        parser_class: type[LightningArgumentParser] = LightningArgumentParser,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        args: ArgsType = None,
        run: bool = True,
        auto_configure_optimizers: bool = True,
        load_from_checkpoint_support: bool = True,
    ) -> None:
        self.save_config_callback = save_config_callback
        self.save_config_kwargs = save_config_kwargs or {}
        self.trainer_class = trainer_class
        self.trainer_defaults = trainer_defaults or {}
        self.seed_everything_default = seed_everything_default
        self.parser_kwargs = parser_kwargs or {}
        self.parser_class = parser_class
        self.auto_configure_optimizers = auto_configure_optimizers
        self.model_class = model_class
        self._model_class: Any = model_class or LightningModule
        self.subclass_mode_model = model_class is None or subclass_mode_model
        self.datamodule_class = datamodule_class
        self._datamodule_class: Any = datamodule_class or LightningDataModule
        self.subclass_mode_data = datamodule_class is None or subclass_mode_data
        self._subcommand_parsers: dict[str, LightningArgumentParser] = {}
        self._subcommand_method_arguments: dict[str, list[str]] = {}

        names = self.subcommands()
        of_main = {key: value for key, value in self.parser_kwargs.items() if key not in names}
        of_subcommands = {key: value for key, value in self.parser_kwargs.items() if key in names}
        self.setup_parser(run, of_main, of_subcommands)
        self.parse_arguments(self.parser, args)
        self._take_hyperparameters_of_checkpoint()
        self.subcommand: str | None = self.config["subcommand"] if run else None
        self._set_seed()
        self._keeps_what_was_written = load_from_checkpoint_support
        self.before_instantiate_classes()
        self.instantiate_classes()
        self.after_instantiate_classes()
        if self.subcommand is not None:
            self._run_subcommand(self.subcommand)

    # --------------------------------------------------------------------------------------------- parsing

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser that knows ``--config``."""
        kwargs.setdefault("dump_header", [f"fulmen-core=={fulmen.__version__}"])
        parser = self.parser_class(**kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="a file of arguments, YAML or JSON")
        return parser

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Make the parser, with a subcommand for each entry point, or without."""
        self.parser = self.init_parser(**main_kwargs)
        if not add_subcommands:
            self._add_arguments(self.parser)
            return
        trainer_class = self.trainer_class
        cls = trainer_class if isinstance(trainer_class, type) else _class_of_function(trainer_class)
        subcommands = self.parser.add_subcommands()
        for name, skipped in self.subcommands().items():
            method = getattr(cls, name)
            summary = (inspect.getdoc(method) or "").partition("\n")[0]
            own = {"description": summary, **subparser_kwargs.get(name, {})}
            parser = self.init_parser(**own)
            self._add_arguments(parser)
            self._subcommand_method_arguments[name] = parser.add_method_arguments(cls, name, skip=set(skipped))
            self._subcommand_parsers[name] = parser
            subcommands.add_subcommand(name, parser, help=summary)

    def _add_arguments(self, parser: LightningArgumentParser) -> None:
        self.add_default_arguments_to_parser(parser)
        self.add_core_arguments_to_parser(parser)
        self.add_arguments_to_parser(parser)
        if self.auto_configure_optimizers:
            if not parser._optimizers:
                parser.add_optimizer_args((Optimizer,))
            if not parser._lr_schedulers:
                parser.add_lr_scheduler_args(_SCHEDULERS)
        self.link_optimizers_and_lr_schedulers(parser)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--seed_everything``."""
        parser.add_argument(
            "--seed_everything",
            type=bool | int,
            default=self.seed_everything_default,
            help="the seed of all random generators; true for the environment's, false for none",
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the arguments of trainer, module and data module."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        own = {f"trainer.{key}": value for key, value in self.trainer_defaults.items() if key != "callbacks"}
        parser.set_defaults(own)
        parser.add_lightning_class_args(self._model_class, "model", subclass_mode=self.subclass_mode_model)
        parser.add_lightning_class_args(
            self._datamodule_class,
            "data",
            subclass_mode=self.subclass_mode_data,
            required=self.datamodule_class is not None,  # the loaders may be the module's
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Override it to add and link further arguments."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the entry points that are subcommands, with those of their arguments that are not the user's."""
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
            "test": {"model", "dataloaders", "datamodule"},
            "predict": {"model", "dataloaders", "datamodule"},
        }

    @staticmethod
    def link_optimizers_and_lr_schedulers(parser: LightningArgumentParser) -> None:
        """Link optimizers and schedulers to the arguments of the module that they are for."""
        for key, (cls, target) in {**parser._optimizers, **parser._lr_schedulers}.items():
            if target == _AUTOMATIC:
                continue
            if isinstance(cls, tuple):
                parser.link_arguments(key, target)
            else:
                parser.link_arguments(key, target, compute_fn=functools.partial(_with_class_path, cls))

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the command line, or what was handed over in its place."""
        if args is not None and len(sys.argv) > 1 and not _is_run_by_a_tool():
            advise(
                "FUL040",
                f"LightningCLI was given `args`, so the command line {sys.argv[1:]} is not looked at; leave one of "
                "them out",
            )
        _import_plugins_named_in(sys.argv[1:] if args is None else args)
        self.config = parser.parse_object(args) if isinstance(args, (dict, Namespace)) else parser.parse_args(args)

    def _take_hyperparameters_of_checkpoint(self) -> None:
        """Let the module's arguments default to those that the checkpoint of ``--ckpt_path`` was made with."""
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if not path or not Path(path).is_file():
            return
        hparams = dict(read_checkpoint(path).get("hyper_parameters") or {})
        hparams.pop("_instantiator", None)
        class_path = hparams.pop("_class_path", None)
        if not hparams and class_path is None:
            return
        model = hparams if class_path is None else {"class_path": class_path, "dict_kwargs": hparams}
        try:
            self.config = self.parser.parse_object({subcommand: {"model": model}}, self.config)
        except SystemExit:
            sys.stderr.write(f"the hyper-parameters in {path} do not fit this program's module\n")
            raise

    def _set_seed(self) -> None:
        config = self.config if self.subcommand is None else self.config[self.subcommand]
        seed = config.get("seed_everything")
        if seed is False or seed is None:
            return
        config["seed_everything"] = seed_everything(None if seed is True else seed, workers=True)

    # ---------------------------------------------------------------------------------------------- making

    def before_instantiate_classes(self) -> None:
        """Override it to do something between parsing and making."""

    def instantiate_classes(self) -> None:
        """Make data module, module and trainer."""
        instantiators = self._instantiators() if self._keeps_what_was_written else None
        self.config_init = self.parser.instantiate(self.config, instantiators=instantiators)
        self.datamodule: LightningDataModule | None = self._get(self.config_init, "data")
        self.model: LightningModule = self._get(self.config_init, "model")
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer = self.instantiate_trainer()

    def after_instantiate_classes(self) -> None:
        """Override it to do something between making and running."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer; ``kwargs`` win over the configuration."""
        parser = self._parser(self.subcommand)
        arguments = {**(self._get(self.config_init, "trainer") or {}), **kwargs}
        given = arguments.get("callbacks")
        callbacks = list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
        callbacks += [self._get(self.config_init, key) for key in parser.callback_keys]
        always = self.trainer_defaults.get("callbacks", [])
        callbacks += always if isinstance(always, (list, tuple)) else [always]
        if self.save_config_callback is not None and not arguments.get("fast_dev_run"):
            config = self.config if self.subcommand is None else self.config[self.subcommand]
            callbacks.append(self.save_config_callback(parser, config, **self.save_config_kwargs))
        return self.trainer_class(**{**arguments, "callbacks": callbacks})

    @staticmethod
    def configure_optimizers(lightning_module: LightningModule, optimizer: Optimizer, lr_scheduler: Any = None) -> Any:
        """Return what the module's ``configure_optimizers`` does when the command line chose; override to change it."""
        if lr_scheduler is None:
            return optimizer
        if isinstance(lr_scheduler, ReduceLROnPlateau):
            monitored = {"scheduler": lr_scheduler, "monitor": lr_scheduler.monitor}
            return {"optimizer": optimizer, "lr_scheduler": monitored}
        return [optimizer], [lr_scheduler]

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        if not self.auto_configure_optimizers:
            return
        parser = self._parser(subcommand)
        optimizers = [key for key, (_, target) in parser._optimizers.items() if target == _AUTOMATIC]
        schedulers = [key for key, (_, target) in parser._lr_schedulers.items() if target == _AUTOMATIC]
        if not optimizers:
            return
        if len(optimizers) > 1 or len(schedulers) > 1:
            raise MisconfigurationException(
                f"{type(self).__name__} makes `configure_optimizers` of one optimizer and one scheduler, but "
                f"{', '.join(optimizers + schedulers)} are automatic; link them to arguments of the module with "
                "link_to=, and write its `configure_optimizers`"
            )
        chosen = _chosen(parser._optimizers[optimizers[0]][0], self._get(self.config_init, optimizers[0]))
        if not chosen:
            return  # nobody asked for one
        scheduler = None
        if schedulers:
            scheduler = _chosen(parser._lr_schedulers[schedulers[0]][0], self._get(self.config_init, schedulers[0]))
        if is_overridden("configure_optimizers", self.model, LightningModule):
            advise(
                "FUL041",
                f"`{type(self.model).__name__}.configure_optimizers` is replaced by the command line's optimizer; "
                "pass auto_configure_optimizers=False to keep it",
            )
        make = self.configure_optimizers

        def configure_optimizers(module: LightningModule) -> Any:
            optimizer = instantiate_class(module.parameters(), chosen)
            return make(module, optimizer, instantiate_class(optimizer, scheduler) if scheduler else None)

        self.model.configure_optimizers = types.MethodType(configure_optimizers, self.model)  # type: ignore[method-assign]

    def _instantiators(self) -> list[tuple[Callable[..., Any], type, bool]]:
        """Return how module and data module are made: so that ``save_hyperparameters`` keeps what was written."""
        instantiators: list[tuple[Callable[..., Any], type, bool]] = []
        for key, cls, in_subclass_mode in (
            ("model", self._model_class, self.subclass_mode_model),
            ("data", self._datamodule_class, self.subclass_mode_data),
        ):
            owner = cls if isinstance(cls, type) else inspect.signature(cls).return_annotation
            make = functools.partial(self._make_with_hyperparameters, key)
            instantiators.append((make, owner, in_subclass_mode))
        return instantiators

    def _make_with_hyperparameters(
        self, key: str, cls: type, *args: Any, applied_instantiation_links: Mapping[str, Any], **kwargs: Any
    ) -> Any:
        hparams = self._written.get(key) or {}
        if "class_path" in hparams:
            further = {**(hparams.get("init_args") or {}), **(hparams.get("dict_kwargs") or {})}
            hparams = {"_class_path": hparams["class_path"], **further}
        for target, value in applied_instantiation_links.items():
            name = target.removeprefix(f"{key}.").removeprefix("init_args.")
            if target.startswith(f"{key}.") and "." not in name:
                hparams[name] = value
        with given_hyperparameters(hparams):
            return cls(*args, **kwargs)

    @functools.cached_property
    def _written(self) -> dict[str, Any]:
        """The configuration as plain values."""
        import yaml

        dumped = self.parser.dump(self.config, skip_link_targets=False, skip_unset=False, format="yaml")
        config: dict[str, Any] = yaml.safe_load(dumped)
        return config if self.subcommand is None else config[self.subcommand]

    # --------------------------------------------------------------------------------------------- running

    def _run_subcommand(self, subcommand: str) -> None:
        for name in (f"before_{subcommand}", subcommand, f"after_{subcommand}"):
            method = getattr(self, name, None)
            if name != subcommand:
                if method is not None:
                    method()
                continue
            names = self._subcommand_method_arguments[subcommand]
            arguments = {key: value for key, value in self.config_init[subcommand].items() if key in names}
            arguments["model"] = self.model
            if self.datamodule is not None:
                arguments["datamodule"] = self.datamodule
            (method or getattr(self.trainer, subcommand))(**arguments)

    def _parser(self, subcommand: str | None) -> LightningArgumentParser:
        return self.parser if subcommand is None else self._subcommand_parsers[subcommand]

    def _get(self, config: Namespace, key: str) -> Any:
        return (config if self.subcommand is None else config[self.subcommand]).get(key)


def instantiate_class(args: Any, init: Mapping[str, Any]) -> Any:
    """Make an object of ``{"class_path": ..., "init_args": {...}}`` with ``args``, one value or a tuple, put first."""
    module, _, name = init["class_path"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    first = args if isinstance(args, tuple) else (args,)
    return cls(*first, **(init.get("init_args") or {}))


def _import_plugins_named_in(args: Any) -> None:
    """Import the callbacks and loggers that are named by their class alone: jsonargparse finds what is imported.

    Raises:
        PluginError: one of them cannot be loaded, such as for want of its SDK.
    """
    words = [str(word) for word in args] if isinstance(args, (list, tuple)) else [str(args)]
    files = [Path(word.rpartition("=")[2]) for word in words]
    text = "\n".join([*words, *(file.read_text("utf-8") for file in files if _is_config(file))])
    for group in (CALLBACKS, LOGGERS):
        for name, entries in installed(group).items():
            if re.search(rf"\b{entries[0].attr}\b", text):
                load(group, name)


def _is_config(file: Path) -> bool:
    return file.suffix in (".yaml", ".yml", ".json") and file.is_file()


def _class_of_function(function: Callable[..., Any]) -> type:
    made: type = class_from_function(function)
    return made


def _with_class_path(cls: type, init_args: Any) -> dict[str, Any]:
    arguments = init_args.as_dict() if isinstance(init_args, Namespace) else init_args
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments or {}}


def _chosen(cls: type | tuple[type, ...], config: Any) -> dict[str, Any]:
    """Return class path and arguments of what the user chose, empty for nothing."""
    if not isinstance(cls, tuple):
        return _with_class_path(cls, config)
    return config.as_dict() if isinstance(config, Namespace) else dict(config or {})


def _is_run_by_a_tool() -> bool:
    """Whether the words of the command line are another program's, such as a test runner's or a notebook's."""
    name = Path(sys.argv[0]).name
    return name in ("ipykernel_launcher.py", "__main__.py", "pytest", "py.test", "colab_kernel_launcher.py")
