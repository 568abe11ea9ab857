"""Export: the bundle answers as the torch module does, holds nothing needless, and refuses false claims."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from policy_fixtures import cameras, normalisation, training_spec
from stage_one_fixtures import dual_arm_space
from torch import Tensor, nn

from dygro_ros.bundle import Bundle, verify_golden
from dygro_ros.errors import BundleError
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import JOINT_LOWER, JOINT_UPPER
from dygro_ros.manifest import ResidualSpec
from models.base_policy import BasePolicy, NanoConfig
from models.dygro_policy import DygroPolicy
from models.residual import ResidualConfig, ResidualPolicy
from sim2real.export import GoldenInputs, PolicyFacts, cell_golden_inputs, export_bundle, facts_of

RESIDUAL = ResidualSpec(arm_bound=0.1, gripper_bound=0.1, experts=3, active_experts=2)


class TinyPolicy(nn.Module):
    """A policy in three layers with the forward signature of the real one."""

    def __init__(self, gain: float = 0.05) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16 * 16 * 3, 8)
        self.second = nn.Linear(16 * 16 * 3, 8)
        self.second.load_state_dict(self.first.state_dict())  # two equal sets of weights: one is enough
        self.head = nn.Linear(8 + 14, 4 * 14)
        self.gain = gain

    def forward(self, images: Tensor, instruction: Tensor, proprio: Tensor) -> tuple[Tensor, ...]:
        pixels = images.float().flatten(1) / 255.0
        text = instruction.float().mean(1, keepdim=True) * 0.01
        hidden = torch.tanh(self.first(pixels)) + torch.relu(self.second(pixels)) + text
        motion = 0.1 * torch.tanh(self.head(torch.cat([hidden, proprio], dim=1)).unflatten(1, (4, 14)))
        lower, upper = torch.from_numpy(JOINT_LOWER.copy()), torch.from_numpy(JOINT_UPPER.copy())
        base = torch.minimum(torch.maximum(proprio.unsqueeze(1) + motion, lower), upper)
        chunk = torch.minimum(torch.maximum(base + self.gain * 0.2 * torch.cos(motion), lower), upper)
        gates = torch.softmax(hidden[:, :2], dim=1)
        return chunk, base, torch.cat([gates, torch.zeros_like(gates[:, :1])], dim=1), hidden[:, :5]


def facts(**changes: object) -> PolicyFacts:
    """What the exporter is told about the tiny policy."""
    known = PolicyFacts(
        cameras=cameras(),
        rate_hz=25.0,
        normalisation=normalisation(),
        residual=RESIDUAL,
        training=training_spec(),
    )
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


def golden_inputs(size: int = 16, count: int = 4) -> GoldenInputs:
    """Random frames."""
    rng = np.random.default_rng(5)
    proprio = JOINT_LOWER + rng.random((count, 14)) * (JOINT_UPPER - JOINT_LOWER)
    return GoldenInputs(
        images=rng.integers(0, 256, (count, 1, size, size, 3), dtype=np.uint8),
        instructions=("stack the bowls", "beat the block", "pick up both bottles", "place the cup")[:count],
        proprio=proprio.astype(np.float32),
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny policy's bundle; a warning fails the export."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return export_bundle(
            TinyPolicy(), facts(), golden_inputs(), tmp_path_factory.mktemp("export") / "bundle"
        )


def test_the_bundle_answers_as_torch_does_on_new_frames(tiny: Bundle) -> None:
    policy, module = OnnxPolicy(tiny), TinyPolicy().eval()
    assert verify_golden(tiny, policy).max() <= 1e-4
    rng = np.random.default_rng(9)
    for text in ("lift", "lower it"):
        images = rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
        proprio = (JOINT_LOWER + rng.random(14) * (JOINT_UPPER - JOINT_LOWER)).astype(np.float32)
        found = policy.infer(images, text, proprio)
        data = np.zeros((1, 96), np.uint8)
        data[0, : len(text)] = np.frombuffer(text.encode(), np.uint8)
        with torch.no_grad():
            wanted = module(
                torch.from_numpy(images[None]), torch.from_numpy(data), torch.from_numpy(proprio[None])
            )
        for got, want in zip(
            (found.chunk, found.base_chunk, found.gates, found.task_embedding), wanted, strict=True
        ):
            np.testing.assert_allclose(got, want[0].numpy(), atol=1e-4)


def test_the_manifest_says_what_was_told(tiny: Bundle) -> None:
    manifest = tiny.manifest
    assert manifest.training == training_spec()
    assert manifest.action.chunk_length == 4
    assert manifest.graph.outputs[2].shape == (1, 3)
    assert [spec.name for spec in manifest.graph.inputs] == ["images", "instruction", "proprio"]


def test_the_graph_holds_nothing_needless(tiny: Bundle) -> None:
    model = onnx.load(tiny.graph_path, load_external_data=False)
    values = [
        tensor.SerializeToString().replace(tensor.name.encode(), b"") for tensor in model.graph.initializer
    ]
    digests = [hashlib.sha256(value).digest() for value in values]
    assert len(set(digests)) == len(digests), "the same weights are stored twice"
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b".py" not in tiny.graph_path.read_bytes()
    dimensions = [d for v in (*model.graph.input, *model.graph.output) for d in v.type.tensor_type.shape.dim]
    assert all(d.dim_value > 0 and not d.dim_param for d in dimensions)


def test_export_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        export_bundle(TinyPolicy(), facts(), golden_inputs(), tmp_path / "bundle")
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_the_module_keeps_its_mode(tmp_path: Path) -> None:
    policy = TinyPolicy().train()
    export_bundle(policy, facts(), golden_inputs(), tmp_path / "bundle")
    assert policy.training


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("residual.arm_bound", {"residual": RESIDUAL.model_copy(update={"arm_bound": 0.01})}),
        ("residual.experts", {"residual": RESIDUAL.model_copy(update={"experts": 4})}),
        ("cameras", {"cameras": (cameras()[0].model_copy(update={"width": 32}),)}),
    ],
)  # fmt: skip
def test_false_claims_are_refused(tmp_path: Path, field: str, changes: dict[str, object]) -> None:
    with pytest.raises(BundleError) as caught:
        export_bundle(TinyPolicy(), facts(**changes), golden_inputs(), tmp_path / "bundle")
    assert field in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_policy_that_leaves_the_limits_is_refused(tmp_path: Path) -> None:
    class Unclipped(TinyPolicy):
        def forward(self, images: Tensor, instruction: Tensor, proprio: Tensor) -> tuple[Tensor, ...]:
            chunk, base, gates, embedding = super().forward(images, instruction, proprio)
            return chunk + 5.0, base + 5.0, gates, embedding

    with pytest.raises(BundleError, match=r"joints\[0\]"):
        export_bundle(Unclipped(), facts(), golden_inputs(), tmp_path / "bundle")


def nano(*, residual: bool) -> DygroPolicy:
    """A small Stage I policy, with or without a residual that does something."""
    torch.manual_seed(1)
    config = NanoConfig(image_size=32, width=32, layers=1, heads=2, keypoints=4, chunk=5, head_width=32)
    base = BasePolicy(config, dual_arm_space(0.3))
    if not residual:
        return DygroPolicy(base, None)
    experts = ResidualPolicy(
        ResidualConfig(experts=4, top_m=2, width=16),
        latent_size=config.z_tokens * config.z_dim,
        feature_size=base.task_feature_size,
        chunk=config.chunk,
        actions=14,
        tasks=4,
        grippers=(6, 13),
    )
    nn.init.normal_(experts.experts.weights[-1], std=0.5)
    return DygroPolicy(base, experts)


@pytest.mark.parametrize("residual", [True, False])
def test_the_real_policy_can_be_exported(
    tmp_path: Path, residual: bool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = nano(residual=residual)
    told = facts_of(policy, training_spec("dygro" if residual else "base"))
    assert told.cameras[0].name == "head_camera"
    assert told.residual.arm_bound == (0.1 if residual else 0.0)
    assert told.normalisation.scale == pytest.approx([0.5 if i in (6, 13) else 0.3 for i in range(14)])
    bundle = export_bundle(policy, told, golden_inputs(size=32), tmp_path / "bundle")
    assert verify_golden(bundle, OnnxPolicy(bundle)).max() <= 1e-4
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")
    assert (not np.array_equal(bundle.golden.chunk, bundle.golden.base_chunk)) == residual
    assert bundle.golden.gates.any() == residual


class _DriftingCell:
    """A cell whose joints follow the target by half and whose picture shows the task's length."""

    instruction = ""
    step_count = 0
    step_limit = 100
    succeeded = False

    def reset(self, task: str, seed: int) -> None:
        self.instruction = f"{task} {seed}"
        self._joints = np.zeros(14, np.float32)

    def step(self, action: np.ndarray) -> bool:
        assert (action >= JOINT_LOWER).all()
        assert (action <= JOINT_UPPER).all()
        self._joints = (self._joints + action).astype(np.float32) / 2
        return False

    def images(self) -> np.ndarray:
        return np.full((1, 16, 16, 3), len(self.instruction), np.uint8)

    def proprio(self) -> np.ndarray:
        return self._joints.copy()

    def close(self) -> None:
        pass


def test_golden_inputs_show_every_task_and_move_the_arms() -> None:
    found = cell_golden_inputs(_DriftingCell(), ("lift", "place"), (3, 4))
    assert found.instructions == ("lift 3", "lift 4", "place 3", "place 4")
    assert found.images.shape == (4, 1, 16, 16, 3)
    assert found.proprio.shape == (4, 14)
    assert len(np.unique(found.proprio, axis=0)) == 4
    again = cell_golden_inputs(_DriftingCell(), ("lift", "place"), (3, 4))
    np.testing.assert_array_equal(found.proprio, again.proprio)
