"""TensorBoardLogger: the run's folder as TensorBoard shows it."""

from __future__ import annotations

import logging
import os
import struct
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from fulmen.audio import Audio
from fulmen.graph import Graph
from fulmen.histogram import Histogram
from fulmen.logger import FolderLogger, RunInfo
from fulmen.media import Image, Table
from fulmen.video import Video
from fulmen_loggers.values import flatten, plain_params, scalar, with_prefix, write_hparams_file

_log = logging.getLogger(__name__)

#: Colour type, which is byte 25 of a PNG file -> TensorBoard's "colorspace".
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


class TensorBoardLogger(FolderLogger):
    """Writes TensorBoard's event files and ``hparams.yaml`` into the run's folder.

    ``tensorboard --logdir SAVE_DIR`` shows them. TensorBoard keeps numbers as 32-bit floats, has no place for
    files, and shows tables as text.

    Args:
        save_dir: the root folder; ``None`` for the working directory.
        name: the folder below it.
        version: a number N for ``version_N``, a folder's name, or ``None`` for the first number that is free.
        log_graph: show the model's graph when ``fit`` begins; it needs the model's ``example_input_array``.
        default_hp_metric: show hyper-parameters that come without metrics beside ``hp_metric = -1``;
            TensorBoard shows none that have no metric.
        prefix: put before each key, with a ``-``.
        sub_dir: a folder below the version's for the event files.
        kwargs: for ``torch.utils.tensorboard.SummaryWriter``, such as ``max_queue`` or ``flush_secs``.
    """

    interface = (1, 0)

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.wants_graph = log_graph
        super().__init__(save_dir, name, version)
        self._default_hp_metric = default_hp_metric
        self._prefix = prefix
        self._sub_dir = None if sub_dir is None else os.fspath(sub_dir)
        self._kwargs = kwargs
        self._writer: SummaryWriter | None = None
        self.hparams: dict[str, Any] = {}
        self._hparam_metrics: dict[str, float] = {}
        self._are_hparams_due = False
        self._shown_hparams: set[str] | None = None

    def open(self, run: RunInfo) -> None:
        self._writer = SummaryWriter(log_dir=self.log_dir, **self._kwargs)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None, time_s: float | None = None) -> None:
        writer = self._open_writer
        # All are converted before one is written: a value that cannot be drawn leaves nothing half done.
        single = {key: scalar(key, value) for key, value in metrics.items() if not isinstance(value, Mapping)}
        groups = {
            key: {name: scalar(f"{key}/{name}", value) for name, value in values.items()}
            for key, values in metrics.items()
            if isinstance(values, Mapping)
        }
        if single:
            # One event for all: `SummaryWriter.add_scalar` makes an event of its own for each, which takes far longer.
            points = [
                Summary.Value(tag=with_prefix(self._prefix, key), simple_value=value) for key, value in single.items()
            ]
            self._add_summary(Summary(value=points), step, time_s)
        for key, values in groups.items():
            writer.add_scalars(with_prefix(self._prefix, key), values, step, time_s)

    def tell_points(self, points: Sequence[tuple[str, int | None]]) -> Iterable[tuple[str, int | None]]:
        """Return those of these points, each a key and a step, that are in the folder's event files."""
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

        there = {
            (value.tag, event.step)
            for path in sorted(Path(self.log_dir).glob("events.out.tfevents.*"))
            for event in LegacyEventFileLoader(str(path)).Load()
            for value in event.summary.value
            if value.HasField("simple_value")
        }
        return [(key, step) for key, step in points if (with_prefix(self._prefix, key), step or 0) in there]

    def log_hyperparams(
        self,
        params: Mapping[str, Any] | Namespace,
        metrics: Mapping[str, Any] | float | None = None,
        step: int | None = None,
    ) -> None:
        """Deliver hyper-parameters, and the numbers beside which TensorBoard shows them.

        Args:
            params: a nested mapping; ``{"a": {"b": 1}}`` is shown as ``a/b``.
            metrics: numbers by name, or one number called ``hp_metric``.
            step: the step of ``metrics``.
        """
        self.hparams.update(plain_params(params))
        if not self.is_recorded:  # a run keeps the file itself
            write_hparams_file(self.log_dir, self.hparams)
        if metrics is None:
            metrics = {"hp_metric": -1.0} if self._default_hp_metric else {}
        elif not isinstance(metrics, Mapping):
            metrics = {"hp_metric": metrics}
        if not metrics:
            return
        self.log_metrics(metrics, step)
        # TensorBoard shows the first hyper-parameters that a run has and no later ones: those that come one
        # after the other are written together, as soon as core asks to save.
        self._hparam_metrics.update({with_prefix(self._prefix, key): 0.0 for key in metrics})
        if self._shown_hparams is None:
            self._are_hparams_due = True
        elif self.hparams.keys() - self._shown_hparams:
            _log.warning(
                "TensorBoard shows the first hyper-parameters of a run only; later came %s: see hparams.yaml",
                ", ".join(sorted(self.hparams.keys() - self._shown_hparams)),
            )
            self._shown_hparams |= self.hparams.keys()

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        pictures = [Image.of(image) for image in images]
        for tag, picture in self._tags(key, pictures):
            # The file is handed over as it is; `SummaryWriter.add_image` would decode and encode it once more.
            image = Summary.Image(
                encoded_image_string=picture.png,
                height=picture.height,
                width=picture.width,
                colorspace=_PNG_CHANNELS[picture.png[25]],
            )
            self._add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
        self._log_captions(key, [picture.caption for picture in pictures], step)

    def log_text(self, key: str, text: str, step: int | None = None) -> None:
        self._open_writer.add_text(with_prefix(self._prefix, key), text, step)

    def log_table(
        self, key: str, columns: Sequence[str] | None = None, data: Any = None, step: int | None = None
    ) -> None:
        table = Table.of(columns, data)
        lines = [table.columns, ["---"] * len(table.columns), *table.rows]
        markdown = "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
        self._open_writer.add_text(with_prefix(self._prefix, key), markdown, step)

    def log_histogram(self, key: str, values: Any, step: int | None = None) -> None:
        histogram = Histogram.of(values)
        edges, counts = histogram.edges, histogram.counts
        centres = [(left + right) / 2 for left, right in pairwise(edges)]
        self._open_writer.add_histogram_raw(
            with_prefix(self._prefix, key),
            min=edges[0],
            max=edges[-1],
            num=int(sum(counts)),
            sum=sum(count * centre for count, centre in zip(counts, centres, strict=True)),
            sum_squares=sum(count * centre**2 for count, centre in zip(counts, centres, strict=True)),
            bucket_limits=list(edges[1:]),
            bucket_counts=list(counts),
            global_step=step,
        )

    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None) -> None:
        sounds = [Audio.of(audio) for audio in audios]
        for tag, sound in self._tags(key, sounds):
            shown = Summary.Audio(
                encoded_audio_string=sound.data,
                content_type=f"audio/{sound.format}",
                sample_rate=sound.sample_rate or 0,
                num_channels=sound.channels or 0,
                length_frames=sound.frames or 0,
            )
            self._add_summary(Summary(value=[Summary.Value(tag=tag, audio=shown)]), step)
        self._log_captions(key, [sound.caption for sound in sounds], step)

    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None) -> None:
        clips = [Video.of(video) for video in videos]
        for clip in clips:
            if clip.format != "gif":
                raise ValueError(f"TensorBoard shows videos as GIFs only, but this one is {clip.format}")
        for tag, clip in self._tags(key, clips):
            width, height = struct.unpack("<HH", clip.data[6:10])
            shown = Summary.Image(encoded_image_string=clip.data, height=height, width=width, colorspace=3)
            self._add_summary(Summary(value=[Summary.Value(tag=tag, image=shown)]), step)
        self._log_captions(key, [clip.caption for clip in clips], step)

    def draw_graph(self, graph: Graph) -> None:
        if not graph.nodes:
            _log.warning(
                "TensorBoard shows a model's graph only with an input to run it on: set `example_input_array` on the "
                "model, or pass `input_array` to log_graph"
            )
            return
        nodes = []
        for node in graph.nodes:
            shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in node.shape or ()])
            shapes = AttrValue(list=AttrValue.ListValue(shape=[shape]))
            nodes.append(NodeDef(name=node.name, op=node.op, input=node.inputs, attr={"_output_shapes": shapes}))
        drawn = GraphDef(node=nodes, versions=VersionDef(producer=22))
        file_writer: Any = self._open_writer.file_writer  # torch's types know only its first value, None
        file_writer.add_event(Event(graph_def=drawn.SerializeToString()))

    def save(self) -> None:
        if self._writer is not None:
            self._write_hparams()
            self._writer.flush()

    def close(self, status: str) -> None:
        if self._writer is not None:
            self._write_hparams()
            self._writer.close()
            self._writer = None

    @property
    def log_dir(self) -> str:
        """The run's folder: ``save_dir/name/version_N``, and ``sub_dir`` below it if there is one."""
        return super().log_dir if self._sub_dir is None else os.path.join(super().log_dir, self._sub_dir)

    @property
    def sub_dir(self) -> str | None:
        """The folder below the version's, if there is one."""
        return self._sub_dir

    @property
    def experiment(self) -> SummaryWriter:
        """The ``SummaryWriter``."""
        self.ensure_open()
        return self._open_writer

    @property
    def _open_writer(self) -> SummaryWriter:
        if self._writer is None:
            raise RuntimeError("TensorBoardLogger is closed; use `logger.experiment`, which opens it")
        return self._writer

    def _tags(self, key: str, values: Sequence[Any]) -> list[tuple[str, Any]]:
        """Return each of several values under one key with its tag."""
        tag = with_prefix(self._prefix, key)
        return [(tag if len(values) == 1 else f"{tag}/{index}", value) for index, value in enumerate(values)]

    def _log_captions(self, key: str, captions: Sequence[str | None], step: int | None) -> None:
        # TensorBoard has no caption of its own: a tag's description stays that of the first step for ever.
        if any(captions):
            words = "\n".join(f"{index}. {caption or ''}" for index, caption in enumerate(captions))
            self._open_writer.add_text(f"{with_prefix(self._prefix, key)}/captions", words, step)

    def _write_hparams(self) -> None:
        if not self._are_hparams_due:
            return
        shown = {
            # Torch would show a boolean as 1.0.
            key: value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
            for key, value in flatten(self.hparams).items()
        }
        for summary in hparams(shown, self._hparam_metrics):
            self._add_summary(summary, None)
        self._are_hparams_due = False
        self._shown_hparams = set(self.hparams)

    def _add_summary(self, summary: Summary, step: int | None, time_s: float | None = None) -> None:
        file_writer: Any = self._open_writer.file_writer  # torch's types know only its first value, None
        file_writer.add_summary(summary, step, time_s)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_writer": None}


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", "<br>")
