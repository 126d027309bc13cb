"""SCRFD in steps, with the last convolutions computed only where they are needed.

The network ends in three convolutions per stride. Those for boxes and points take a third
of its time, but only few places need them. This module truncates the network before them
and computes boxes and points at the places with a high score. The convolution for scores
runs as products of single pixels, which are summed afterwards. Scores, boxes and points
equal those of the whole network except for rounding.
"""

from __future__ import annotations

import math
import threading
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged
from pipeline.sessions.candidates import BoxCandidates
from pipeline.sessions.runtime import mapped_run_errors, open_session
from pipeline.types import Picture

_STRIDES = (8, 16, 32)

# Input of the network: (pixel - MEAN) / SPREAD, in RGB.
_MEAN, _SPREAD = 127.5, 128.0
_BLACK = -_MEAN / _SPREAD

# Nodes between a convolution and an output that change no value.
_PASSING = frozenset({"Reshape", "Transpose"})


class UnexpectedNetwork(Exception):
    """The network does not have the structure that this module expects."""


@dataclass(frozen=True, slots=True)
class _LastConvolution:
    """A last convolution: its source, weights (outputs, inputs, side, side) and biases, both
    multiplied by the factor of its outputs."""

    source: str
    weights: NDArray[np.float32]
    biases: NDArray[np.float32]

    @property
    def side(self) -> int:
        return int(self.weights.shape[2])

    def outputs_at(
        self, field: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """The outputs at some places of ``field``, shape (inputs, height, width); the result
        has shape (places, outputs)."""
        inputs, height, width = field.shape
        reach = np.arange(self.side) - self.side // 2
        y, x = (rows[:, None] + reach)[:, :, None], (columns[:, None] + reach)[:, None]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        # Values taken for places outside are masked below.
        patches = field.reshape(inputs, -1).take(y * width + x, axis=1, mode="clip")
        flat = (patches * inside).swapaxes(0, 1).reshape(len(rows), -1)
        outputs: NDArray[np.float32] = flat @ self.weights.reshape(len(self.biases), -1).T
        return outputs + self.biases

    def joined_with(self, other: _LastConvolution) -> _LastConvolution:
        """Both convolutions of one source as one, with the outputs of ``other`` last."""
        return _LastConvolution(
            self.source, np.concatenate([self.weights, other.weights]),
            np.concatenate([self.biases, other.biases]),
        )


@dataclass(frozen=True, slots=True)
class _Head:
    """The end of one stride. ``taps`` names the output with the products that sum to the
    scores; ``places`` computes the boxes of all anchors, then their points."""

    stride: int
    taps: str
    scores: _LastConvolution
    places: _LastConvolution


class _TruncatedNetwork:
    """The network up to the inputs of some of its heads."""

    def __init__(self, path: Path, settings: Settings, model: Any, heads: list[_Head]) -> None:
        """``model`` may have been truncated for other heads before."""
        self.heads = heads
        self._outputs = _end_early(model.graph, heads)
        self._session = open_session(path, settings, model.SerializeToString())
        self._input = self._session.get_inputs()[0].name

    def run(self, blob: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        outputs = self._session.run(self._outputs, {self._input: blob})
        return dict(zip(self._outputs, outputs, strict=True))


class _InputBuffer:
    """A reusable square input of one size; the area outside the picture is black."""

    def __init__(self, size: int) -> None:
        self._values = np.full((1, 3, size, size), _BLACK, np.float32)
        self._height = self._width = 0

    def fill(self, picture: Picture) -> NDArray[np.float32]:
        """Writes ``picture`` into the upper left corner; valid until the next call."""
        height, width = picture.shape[:2]
        if height < self._height or width < self._width:
            self._values[:] = _BLACK
        self._height, self._width = height, width
        _write(picture, self._values)
        return self._values


class _WindowBuffer:
    """Reusable memory for inputs of any shape."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.float32)

    def fill(self, picture: Picture) -> NDArray[np.float32]:
        """An input with ``picture``, black on the right and below up to multiples of the coarsest
        stride; valid until the next call."""
        height, width = (_STRIDES[-1] * -(-side // _STRIDES[-1]) for side in picture.shape[:2])
        if self._memory.size < 3 * height * width:
            self._memory = np.empty(3 * height * width, np.float32)
        values = self._memory[: 3 * height * width].reshape(1, 3, height, width)
        values[:, :, picture.shape[0] :] = _BLACK
        values[:, :, :, picture.shape[1] :] = _BLACK
        _write(picture, values)
        return values


def _write(picture: Picture, values: NDArray[np.float32]) -> None:
    """Writes ``picture`` into the upper left corner of an input of shape (1, 3, height, width).
    """
    height, width = picture.shape[:2]
    for colour, plane in zip(reversed(cv2.split(picture)), values[0], strict=True):
        # A weighted sum with weight 0: the fastest conversion from bytes to floats.
        cv2.addWeighted(
            colour, 1 / _SPREAD, colour, 0.0, _BLACK, plane[:height, :width], cv2.CV_32F
        )


class _Buffers(threading.local):
    """The inputs of one thread: squares by size, and windows."""

    def __init__(self) -> None:
        self.by_size: dict[int, _InputBuffer] = {}
        self.window = _WindowBuffer()


class ScrfdSteps:
    """See ``scrfd.ScrfdNetwork``. Threads may share it."""

    fixed_size = None

    @classmethod
    def open(cls, path: Path, settings: Settings) -> Self | None:
        """Opens a model file; None when the network has another structure. Raises
        ``PackDamaged``, ``ProviderUnavailable``."""
        try:
            model = onnx.load(str(path))
            heads = _heads(model.graph)
        except UnexpectedNetwork:
            return None
        except (DecodeError, OSError, ValueError) as error:
            raise PackDamaged(f"{path} is no ONNX model: {error}") from error
        return cls(path, model, heads, settings)

    def __init__(self, path: Path, model: Any, heads: list[_Head], settings: Settings) -> None:
        self._path = path
        self._small = _TruncatedNetwork(path, settings, deepcopy(model), heads[:1])
        self._all = _TruncatedNetwork(path, settings, model, heads)
        self._large = _TruncatedNetwork(path, settings, model, heads[1:])
        self._buffers = _Buffers()

    def candidates(
        self, picture: Picture, threshold: float, *, large_only: bool = False
    ) -> BoxCandidates:
        ending = self._large if large_only else self._all
        size = max(picture.shape[:2])
        buffers = self._buffers.by_size
        if size not in buffers:
            buffers[size] = _InputBuffer(size)
        return self._run(ending, buffers[size].fill(picture), threshold)

    def window_candidates(
        self, picture: Picture, threshold: float, *, small_only: bool = False
    ) -> BoxCandidates:
        ending = self._small if small_only else self._all
        return self._run(ending, self._buffers.window.fill(picture), threshold)

    def _run(
        self, ending: _TruncatedNetwork, blob: NDArray[np.float32], threshold: float
    ) -> BoxCandidates:
        with mapped_run_errors(self._path):
            fields = ending.run(blob)
        least = math.log(threshold / (1.0 - threshold))
        return BoxCandidates.concatenate([_found(head, fields, least) for head in ending.heads])


def _found(head: _Head, fields: dict[str, NDArray[np.float32]], least: float) -> BoxCandidates:
    """The boxes of one stride with a logit of at least ``least``."""
    logits = _summed(fields[head.taps][0], head.scores)
    anchors, rows, columns = np.nonzero(logits >= least)
    if not len(anchors):
        return BoxCandidates.empty()
    each = np.arange(len(anchors))
    found = head.places.outputs_at(fields[head.places.source][0], rows, columns) * head.stride
    boxes = found[:, : 4 * len(logits)].reshape(len(anchors), -1, 4)[each, anchors]
    points = found[:, 4 * len(logits) :].reshape(len(anchors), -1, 5, 2)[each, anchors]
    centres = np.stack([columns, rows], axis=1).astype(np.float32) * head.stride
    corners = np.concatenate([centres - boxes[:, :2], centres + boxes[:, 2:]], axis=1)
    scores = 1.0 / (1.0 + np.exp(-logits[anchors, rows, columns]))
    return BoxCandidates(
        corners.astype(np.float32, copy=False), scores.astype(np.float32, copy=False),
        (points + centres[:, None]).astype(np.float32, copy=False),
    )


def _summed(taps: NDArray[np.float32], last: _LastConvolution) -> NDArray[np.float32]:
    """The result of a convolution from its products of single pixels, ``taps``, shape (side *
    side * outputs, height, width): shifted to their places and added."""
    height, width = taps.shape[1:]
    reach = last.side // 2
    # A border takes the products that fall outside.
    total = np.empty((len(last.biases), height + 2 * reach, width + 2 * reach), np.float32)
    total[:] = last.biases[:, None, None]
    products = taps.reshape(last.side, last.side, -1, height, width)
    for row in range(last.side):
        for column in range(last.side):
            top, left = 2 * reach - row, 2 * reach - column
            total[:, top : top + height, left : left + width] += products[row, column]
    return total[:, reach : reach + height, reach : reach + width]


# The network --------------------------------------------------------------------


def _heads(graph: Any) -> list[_Head]:
    """The last convolutions. Raises ``UnexpectedNetwork``."""
    outputs = [output.name for output in graph.output]
    if len(outputs) != 3 * len(_STRIDES) or len(graph.input) != 1:
        raise UnexpectedNetwork
    shape = graph.input[0].type.tensor_type.shape.dim
    if len(shape) != 4 or shape[2].dim_value > 0 or shape[3].dim_value > 0:
        raise UnexpectedNetwork  # its input has a fixed size
    finder = _GraphWalker(graph)
    lasts = [finder.last(name, sigmoid=place < 3) for place, name in enumerate(outputs)]
    heads = []
    for place, stride in enumerate(_STRIDES):
        scores, boxes, points = lasts[place], lasts[place + 3], lasts[place + 6]
        anchors = len(scores.biases)
        if len(boxes.biases) != 4 * anchors or len(points.biases) != 10 * anchors:
            raise UnexpectedNetwork
        if (boxes.source, boxes.side) != (points.source, points.side):
            raise UnexpectedNetwork
        heads.append(_Head(stride, f"taps_of_{stride}", scores, boxes.joined_with(points)))
    return heads


class _GraphWalker:
    """Walks from outputs back to their convolutions."""

    def __init__(self, graph: Any) -> None:
        self._maker = {name: node for node in graph.node for name in node.output}
        self._values = {each.name: each for each in graph.initializer}

    def last(self, output: str, *, sigmoid: bool) -> _LastConvolution:
        """Raises ``UnexpectedNetwork``."""
        factor = 1.0
        name = output
        while (node := self._maker.get(name)) is not None and node.op_type != "Conv":
            if node.op_type == "Sigmoid" and sigmoid:
                sigmoid = False
            elif node.op_type == "Mul" and not sigmoid:
                factor *= self._number(node.input[1])
            elif node.op_type not in _PASSING:
                raise UnexpectedNetwork
            name = node.input[0]
        if node is None or sigmoid:
            raise UnexpectedNetwork
        return self._convolution(node, factor)

    def _convolution(self, node: Any, factor: float) -> _LastConvolution:
        if len(node.input) != 3 or not {*node.input[1:]} <= self._values.keys():
            raise UnexpectedNetwork
        weights, biases = (
            numpy_helper.to_array(self._values[name]).astype(np.float32) * np.float32(factor)
            for name in node.input[1:]
        )
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        side = weights.shape[2]
        expected = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [side // 2] * 4}
        if side % 2 == 0 or weights.shape[3] != side or any(
            attributes.get(name, usual if name != "pads" else [0] * 4) != usual
            for name, usual in expected.items()
        ):
            raise UnexpectedNetwork
        return _LastConvolution(node.input[0], weights, biases)

    def _number(self, name: str) -> float:
        value = self._values.get(name)
        if value is None or numpy_helper.to_array(value).size != 1:
            raise UnexpectedNetwork
        return float(numpy_helper.to_array(value).reshape(()))


def _end_early(graph: Any, heads: list[_Head]) -> list[str]:
    """Truncates ``graph`` to the inputs of the last convolutions and the products of the
    scores; returns the names of its outputs."""
    outputs = {name for node in graph.node for name in node.output}
    for head in heads:
        if head.taps in outputs:
            continue
        inputs = head.scores.weights.shape[1]
        single = head.scores.weights.transpose(2, 3, 0, 1).reshape(-1, inputs, 1, 1)
        name = f"{head.taps}_weights"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(single), name))
        graph.node.append(
            helper.make_node("Conv", [head.scores.source, name], [head.taps], head.taps)
        )
    read = [head.places.source for head in heads]
    names = [*(head.taps for head in heads), *dict.fromkeys(read)]
    _prune(graph, set(names))
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    return names


def _prune(graph: Any, wanted: set[str]) -> None:
    """Removes nodes and weights that no wanted output depends on."""
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    values = [each for each in graph.initializer if each.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(values)
