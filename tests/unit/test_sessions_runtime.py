"""onnxruntime with our settings: providers, threads, files that are no models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged, PackError, ProviderUnavailable, TaskUnsupported
from pipeline.sessions import registry, runtime
from pipeline.sessions.base import ModelTask, Pack, PackFile, PackInfo
from pipeline.sessions.onnx_pack import ArcFaceEmbedder
from pipeline.sessions.scrfd import WholeScrfd, open_detector
from tests.unit.sessions_release import sha256

CPU = "CPUExecutionProvider"


def model(directory: Path, outputs: int = 1) -> Path:
    """An ONNX file that returns its input."""
    from onnx import TensorProto, helper, save

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 112, 112])

    names = [f"out{index}" for index in range(outputs)]
    nodes = [helper.make_node("Identity", ["in"], [name]) for name in names]
    graph = helper.make_graph(nodes, "same", [value("in")], [value(name) for name in names])
    path = directory / "model.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def averaging_model(
    directory: Path, batch: int | str, nodes: tuple[str, ...] = ("Pool",)
) -> Path:
    """A "recognition model": an embedding is the mean of each colour. ``nodes`` are names, of
    which only the last node computes anything."""
    from onnx import TensorProto, helper, save

    *idle, pool = nodes
    graph = helper.make_graph(
        [
            *(helper.make_node("Identity", ["in"], [name], name) for name in idle),
            helper.make_node("GlobalAveragePool", ["in"], ["pooled"], pool),
            helper.make_node("Flatten", ["pooled"], ["out"]),
        ],
        "mean",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [batch, 3, 112, 112])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 3])],
    )
    path = directory / "mean.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def pack_of(path: Path, task: ModelTask) -> PackInfo:
    file = PackFile(path.name, task, sha256(path.read_bytes()), "none")
    return PackInfo("test", "manifest", path.parent, (file,), 512, "arcface5")


@pytest.mark.parametrize("providers", ["CUDAExecutionProvider", f"NoSuchProvider,{CPU}", ""])
def test_a_provider_that_is_not_there_stops_the_start(tmp_path: Path, providers: str) -> None:
    if providers.split(",")[0] in onnxruntime.get_available_providers():
        pytest.skip(f"{providers} is here")
    with pytest.raises(ProviderUnavailable, match="FACELINE_PROVIDERS"):
        registry.load(
            pack_of(model(tmp_path), ModelTask.RECOGNITION), Settings(providers=providers)
        )


def test_a_provider_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime falls back to the CPU with a log line; that is made an error."""
    settings = Settings(providers=f"CUDAExecutionProvider,{CPU}")
    started = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession",
        lambda path, sess_options, providers: started(path, sess_options, providers=[CPU]),
    )
    with pytest.raises(ProviderUnavailable, match="CUDAExecutionProvider, but it did not start"):
        runtime.open_session(model(tmp_path), settings)


@pytest.mark.parametrize("spinning", [False, True])
def test_threads_are_ours(tmp_path: Path, spinning: bool) -> None:
    settings = Settings(intra_op_threads=3, allow_spinning=spinning)
    options = runtime.open_session(model(tmp_path), settings).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    expected = "1" if spinning else "0"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == expected


def test_a_whole_network_runs_on_our_session_alone(
    edge_pack: Pack, edge_settings: Settings
) -> None:
    """insightface would make sessions of its own for each size."""
    path = next(edge_pack.info.path / each.name for each in edge_pack.info.files
                if each.task is ModelTask.DETECTION)
    network = WholeScrfd(path, edge_settings)
    network.candidates(np.zeros((32, 64, 3), np.uint8), 0.5)
    sessions = network.model.resolution_sessions.values()
    assert {id(session) for session in sessions} == {id(network.model.session)}


@pytest.mark.parametrize("data", [b"", b"this is no model" * 100])
def test_a_file_that_is_no_model(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    pack = registry.load(pack_of(path, ModelTask.DETECTION), Settings())
    with pytest.raises(PackDamaged, match=r"model\.onnx"):
        pack.detector()


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(PackDamaged, match="no SCRFD"):
        open_detector(model(tmp_path), Settings(), "")
    with pytest.raises(PackDamaged, match="no recognition model"):
        ArcFaceEmbedder(model(tmp_path, outputs=2), Settings())


@pytest.mark.parametrize("batch", [1, "n"])
def test_models_of_one_picture_a_run_and_of_many(tmp_path: Path, batch: int | str) -> None:
    embedder = ArcFaceEmbedder(averaging_model(tmp_path, batch), Settings())
    crops = [np.zeros((112, 112, 3), dtype=np.uint8) for _ in range(3)]
    for colour, crop in enumerate(crops):
        crop[:, :, colour] = 255
    # RGB in the model, BGR in the crops; black is -1
    expected = (2 * np.eye(3)[:, ::-1] - 1) / np.sqrt(3)
    np.testing.assert_allclose(embedder.embed(crops), expected, atol=1e-6)


def test_a_model_that_normalises_its_input_gets_plain_pixels(tmp_path: Path) -> None:
    path = averaging_model(tmp_path, 1, ("_minus0", "_mul1", "Pool"))
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:, :, 1:] = 40, 30
    embedding = ArcFaceEmbedder(path, Settings()).embed([crop])
    np.testing.assert_allclose(embedding, [[0.6, 0.8, 0]], atol=1e-6)


def test_a_changed_file_is_not_loaded(tmp_path: Path) -> None:
    path = model(tmp_path)
    pack = registry.load(pack_of(path, ModelTask.RECOGNITION), Settings())
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(PackDamaged, match="SHA-256"):
        pack.embedder()


def test_a_task_that_the_pack_lacks(tmp_path: Path) -> None:
    pack = registry.load(pack_of(model(tmp_path), ModelTask.ANTI_SPOOF), Settings())
    with pytest.raises(TaskUnsupported, match="no model for detection; it has anti_spoof"):
        pack.detector()
    with pytest.raises(TaskUnsupported, match="recognition"):
        pack.embedder()


def test_a_run_that_fails_is_a_pack_error(tmp_path: Path) -> None:
    session = runtime.open_session(model(tmp_path), Settings())
    with (
        pytest.raises(PackError, match=r"model\.onnx failed"),
        runtime.mapped_run_errors(Path("model.onnx")),
    ):
        session.run(None, {"in": np.zeros((1, 2), dtype=np.float32)})


def test_sessions_share_one_arena(tmp_path: Path) -> None:
    options = runtime.open_session(model(tmp_path), Settings()).get_session_options()
    assert options.get_session_config_entry("session.use_env_allocators") == "1"
    assert not options.enable_mem_pattern
