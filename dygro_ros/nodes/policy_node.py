"""The policy node: pictures, joints and an instruction in; chunk, base chunk, gates, saturation out."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from dygro_ros.bundle import read_bundle, verify_golden
from dygro_ros.errors import UserError, run_main
from dygro_ros.graph import POLICY
from dygro_ros.inference import OnnxPolicy
from dygro_ros.layout import GRIPPER_INDICES, JOINT_NAMES, encode_instruction
from dygro_ros.nodes.managed import (
    ERROR,
    LATCHED,
    NEWEST,
    OBSERVATIONS,
    OK,
    RELIABLE,
    WARN,
    ManagedNode,
    spin,
)
from dygro_ros.nodes.messages import chunk_message, image_message, joint_state, picture_of, to_ns
from dygro_ros.policy_worker import Answer, PolicyWorker
from dygro_ros.robot_profile import PolicyParameters

LATENCIES_KEPT = 256
# Pictures as the graph saw them, one message a camera, and joints, whose frame_id is the instruction.
OBSERVED_IMAGES, OBSERVED_JOINTS = "dygro/observation/images", "dygro/observation/joints"
# Behind the arm bridge: a chunk that comes late loses its first steps, a tick that comes late is felt.
NICENESS = 10


class PolicyNode(ManagedNode):
    """Runs the bundle on the newest picture; commands nothing."""

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("policy_node", PolicyParameters, changeable=("instruction", "bundle"))
        self._worker: PolicyWorker | None = None
        self._policy: OnnxPolicy | None = None
        self._latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._answers, self._fault = 0, ""
        self._newest: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None
        self._made: list[Any] = []
        self.add_on_set_parameters_callback(self._on_parameters)
        self._chunk = self.create_publisher(JointTrajectory, "dygro/chunk", RELIABLE)
        # What the graph was given, for who records it.
        self._seen = self.create_publisher(Image, OBSERVED_IMAGES, OBSERVATIONS)
        self._felt = self.create_publisher(JointState, OBSERVED_JOINTS, OBSERVATIONS)
        self._gates = self.create_publisher(Float32MultiArray, "dygro/gates", RELIABLE)
        self._saturation = self.create_publisher(Float32MultiArray, "dygro/saturation", RELIABLE)
        self._latency = self.create_publisher(Float32MultiArray, "dygro/latency", RELIABLE)
        self._told = self.create_publisher(String, "dygro/current_instruction", LATCHED)
        self.create_subscription(String, "dygro/instruction", self._on_instruction, LATCHED)
        self.create_subscription(JointState, "dygro/joint_states", self._on_joints, NEWEST)

    def prepare(self, parameters: PolicyParameters) -> None:
        """Read and verify the bundle, open the session, warm it up, and listen to the cameras."""
        if not parameters.bundle:
            raise UserError("policy_node: parameter bundle must name the folder of a policy bundle")
        if parameters.instruction:
            _check_instruction(parameters.instruction)
        bundle = read_bundle(Path(parameters.bundle))
        bundle.require_cameras(parameters.cameras)
        policy = OnnxPolicy(bundle, provider=parameters.provider, threads=parameters.threads)
        worst = verify_golden(bundle, policy)
        self._worker = PolicyWorker(
            policy,
            parameters.crops,
            pacing=parameters.pacing(bundle.manifest.action),
            instruction=parameters.instruction,
            answer=self._publish,
            fault=self._on_fault,
            clock=time.monotonic,
            wall_ns=lambda: int(self.get_clock().now().nanoseconds),
        )
        self._policy = policy
        self._cameras = [camera.name for camera in bundle.manifest.cameras]
        self._period_s = 1 / bundle.manifest.action.rate_hz
        residual = bundle.manifest.residual
        bound = np.full(len(JOINT_NAMES), residual.arm_bound)
        bound[list(GRIPPER_INDICES)] = residual.gripper_bound
        bound *= bundle.manifest.normalisation.scale
        # A base policy has no residual: a bound of 0, and 0 used of it.
        self._bound = np.maximum(bound, np.finfo(np.float32).tiny)
        self._made = [
            self.create_subscription(Image, topic, partial(self._on_image, index), NEWEST)
            for index, topic in enumerate(parameters.image_topics)
        ]
        self._told.publish(String(data=parameters.instruction))
        self.get_logger().info(
            f"{bundle.path} ({bundle.fingerprint[:12]}) runs on {policy.running_provider}; first inference "
            f"{1e3 * policy.warm_up_s[0]:.1f} ms, then {1e3 * policy.warm_up_s[1]:.1f} ms; golden frames "
            f"within {worst.max():.1e} rad"
        )

    def begin(self) -> None:
        """Answer pictures from now on."""
        assert self._worker is not None
        self._worker.start()

    def end(self) -> None:
        """Answer no more."""
        if self._worker is not None:
            self._worker.stop()

    def release(self) -> None:
        """Close the session."""
        for subscription in self._made:
            self.destroy_subscription(subscription)
        self._made, self._worker, self._policy = [], None, None

    def status(self) -> tuple[int, str, dict[str, object]]:
        """Return what runs and how fast."""
        if self._policy is None or self._worker is None:
            return OK, "no bundle", {}
        values: dict[str, object] = {
            "bundle": self._policy.bundle.path,
            "fingerprint": self._policy.bundle.fingerprint,
            "provider": self._policy.running_provider,
            "instruction": self._worker.instruction,
            "answers": self._answers,
        }
        if self._latencies:
            latencies = np.array(self._latencies) * 1e3
            values |= {
                "inference p50 [ms]": f"{np.percentile(latencies, 50):.2f}",
                "inference p99 [ms]": f"{np.percentile(latencies, 99):.2f}",
            }
        if self._newest is not None:
            gates, saturation = self._newest
            values |= {"gates": np.round(gates, 2).tolist(), "saturation": np.round(saturation, 2).tolist()}
        if self._fault:
            return ERROR, self._fault, values
        if not self._worker.instruction:
            return WARN, "no instruction yet: publish one on dygro/instruction", values
        return OK, "", values

    def _on_image(self, camera: int, message: Image) -> None:
        if not self.active or self._worker is None:
            return
        try:
            self._worker.see(camera, to_ns(message.header.stamp), picture_of(message))
        except UserError as error:
            self._on_fault(str(error))

    def _on_joints(self, message: JointState) -> None:
        if not self.active or self._worker is None:
            return
        if list(message.name) != list(JOINT_NAMES) or len(message.position) != len(JOINT_NAMES):
            expected = ", ".join(JOINT_NAMES)
            self._on_fault(f"dygro/joint_states: expected joints {expected}, got {list(message.name)}")
            return
        self._worker.measure(to_ns(message.header.stamp), np.array(message.position, dtype=np.float32))

    def _on_instruction(self, message: String) -> None:
        try:
            _check_instruction(message.data)
        except UserError as error:
            self._on_fault(str(error))
            return
        self.set_parameters([Parameter("instruction", value=message.data)])

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "bundle" and self._made:
                reason = "bundle is read on configuring: deactivate and clean up the node first"
                return SetParametersResult(successful=False, reason=reason)
            if parameter.name == "instruction" and parameter.value:
                try:
                    _check_instruction(parameter.value)
                except UserError as error:
                    return SetParametersResult(successful=False, reason=str(error))
                if self._worker is not None:
                    self._worker.instruct(parameter.value)
                    self._told.publish(String(data=parameter.value))
        return SetParametersResult(successful=True)

    def _on_fault(self, sentence: str) -> None:
        if sentence != self._fault:
            self._fault = sentence
            self.get_logger().error(sentence)

    def _publish(self, answer: Answer) -> None:
        """Send one answer; called in the worker's thread."""
        output = answer.output
        self._chunk.publish(
            chunk_message(output.chunk, output.base_chunk, JOINT_NAMES, answer.stamp_ns, self._period_s)
        )
        if self._felt.get_subscription_count():
            self._publish_observation(answer)
        used = np.abs(output.chunk - output.base_chunk).max(axis=0) / self._bound
        self._newest = output.gates, np.minimum(used, 1.0)
        self._gates.publish(Float32MultiArray(data=output.gates.tolist()))
        self._saturation.publish(Float32MultiArray(data=self._newest[1].tolist()))
        # Since the picture, in cropping and resizing, in the graph, in waiting for the joints [s].
        times_s = [answer.age_s, answer.prepare_s, output.latency_s, answer.waited_s]
        self._latency.publish(Float32MultiArray(data=times_s))
        self._latencies.append(output.latency_s)
        self._answers += 1
        self._fault = ""

    def _publish_observation(self, answer: Answer) -> None:
        """Send exactly what the graph was given: `dygro_ros.evaluation.replay` gives it the same again."""
        for image, camera in zip(answer.images, self._cameras, strict=True):
            self._seen.publish(image_message(image, answer.stamp_ns, camera))
        felt = joint_state(JOINT_NAMES, answer.joints.tolist(), answer.stamp_ns)
        felt.header.frame_id = answer.instruction
        self._felt.publish(felt)


def _check_instruction(text: str) -> None:
    try:
        encode_instruction(text)
    except ValueError as error:
        raise UserError(str(error)) from error


def main() -> None:
    """Run the policy node."""
    run_main(lambda: spin(POLICY, PolicyNode, NICENESS))


if __name__ == "__main__":
    main()
