"""RichModelSummary: the table of the model's layers, drawn by rich."""

from __future__ import annotations

from typing import Any

from fulmen.errors import MissingPackageError
from fulmen.summary import ModelSummary as Summary
from fulmen.summary import human_readable_count
from fulmen_callbacks.model_summary import ModelSummary


class RichModelSummary(ModelSummary):
    """Print the model's layers as a table in colours when ``fit`` begins.

    It is the trainer's own summary where rich is installed and the output is a terminal.

    Args:
        max_depth: how many levels of nested layers to list: 0 for nothing at all, -1 for all levels.
        header_style: the style of the table's head, in rich's words.

    Raises:
        MissingPackageError: rich is not installed.
        MisconfigurationException: when ``fit`` begins, where ``max_depth`` is below -1.
    """

    def __init__(self, max_depth: int = 1, header_style: str = "bold magenta") -> None:
        try:
            import rich  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingPackageError('`RichModelSummary` needs rich: pip install "fulmen[rich]"') from error
        super().__init__(max_depth)
        self._header_style = header_style

    def show(self, summary: Summary) -> None:
        """Print a summary."""
        from rich import get_console

        get_console().print(self.table(summary))

    def table(self, summary: Summary) -> Any:
        """Return a summary as rich draws it: a table with the totals below."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        totals = (
            f"{human_readable_count(summary.trainable_parameters)} trainable parameters, "
            f"{human_readable_count(summary.non_trainable_parameters)} non-trainable, "
            f"{human_readable_count(summary.total_parameters)} in all: {summary.model_size:,.3f} MB; "
            f"{summary.modules_in_train_mode} layers in train mode, {summary.modules_in_eval_mode} in eval mode"
        )
        table = Table(box=box.SIMPLE_HEAD, header_style=self._header_style)
        for name, justify in (("Layer", "left"), ("Type", "left"), ("Params", "right"), ("Mode", "left")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for name in ("In", "Out", "FLOPs") if summary.has_shapes else ():
            table.add_column(name, justify="right")
        for layer in summary.layers:
            frozen = {True: "", False: ", frozen", None: ", partly frozen"}[layer.is_trainable]
            mode = ("train" if layer.training else "eval") + frozen
            shapes = [str(layer.in_size), str(layer.out_size), human_readable_count(layer.flops)]
            row = [layer.name, layer.type, human_readable_count(layer.num_parameters), mode]
            table.add_row(*row, *(shapes if summary.has_shapes else []))
        return Group(table, Text(totals))
