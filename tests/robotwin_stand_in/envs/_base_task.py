"""The base of all tasks. Seeds ending in 3 are unstable, in 5 cannot be planned, in 7 have no grasp pose."""

import os

import numpy as np
import yaml

from ._GLOBAL_CONFIGS import CONFIGS_PATH
from ._robot import Actor, Robot, Scene
from .utils.create_actor import UnStableError

LAG = 0.9  # share of the way to its targets that a joint goes in one action


class Base_Task:
    def _init_task_env_(self, seed=0, now_ep_num=0, is_test=False, **args):
        print("setting the scene")  # RoboTwin talks on standard output
        np.random.seed(seed)
        self.seed, self.task_name, self.data_type = seed, args["task_name"], args["data_type"]
        self.camera, self.render_freq = args["camera"], args["render_freq"]
        self.plan_success, self.eval_success, self.take_action_cnt = True, False, 0
        self.eval_video_path = args.get("eval_video_save_dir")
        self.instruction, self.step_lim, self.pictures_taken = None, None, 0
        self.robot = Robot(args["left_embodiment_config"], args["right_embodiment_config"])
        for side in ("left", "right"):
            self.robot.drive(side, [0.0] * len(getattr(self.robot, f"{side}_arm_joints")), 1.0)
        self.robot.settle(1.0)
        self.goal = np.random.uniform(0.1, 0.2)
        scenery = [Actor(name, (0, 0, 0)) for name in ("ground", "wall", "table", "")]
        objects = [Actor("020_hammer", (0, -0.06, 0.78)), Actor("box", (self.goal, 0.05, 0.76))]
        clutter = [Actor("cup", (0.4, 0.2, 0.8))]
        entities = [self.robot.left_entity, self.robot.right_entity]
        self.scene = Scene(
            scenery + self._chosen(objects) + clutter, [*entities, Actor("pot", (0, 0.1, 0.75))]
        )
        if seed == 100_089:
            raise "Actor create limit!"  # noqa: B016 - as RoboTwin does
        assert seed != 100_088, "task config file is missing"
        if seed % 10 == 3:
            raise UnStableError(f"Objects is unstable in seed({seed})")
        if args.get("eval_mode"):
            with open(os.path.join(CONFIGS_PATH, "_eval_step_limit.yml")) as file:
                self.step_lim = yaml.safe_load(file)[self.task_name]
        self.info = {"info": {}}

    def _chosen(self, objects):
        return objects

    def play_once(self):
        broken = {
            100_099: "CUDA out of memory",
            100_096: "CUDA error: an illegal memory access was encountered",
        }
        if self.seed in broken:
            raise RuntimeError(broken[self.seed])
        if self.seed == 100_094:
            return self.scene.get_all_lights()  # of another SAPIEN
        if self.seed == 100_092:
            return self.robot.drive("left")  # of another RoboTwin
        if self.seed == 100_091:
            self.plan_success = False
            return self.info["pose"]
        pose = None if self.seed % 10 == 7 or self.seed == 100_090 else [0.0] * 7
        if self.seed == 100_090:
            return pose[:3]
        assert pose is not None, "target_pose cannot be None for move action."
        if self.seed == 100098:  # every plan was found, and the block was missed
            return self.info
        self.plan_success = self.seed % 10 != 5  # a part of the way was not found; the block was touched
        self.robot.drive("left", [0.0, self.goal, *[0.0] * (len(self.robot.left_arm_joints) - 2)], 0.0)
        self.robot.settle(1.0)
        self.info["info"] = {"{A}": "020_hammer/base0", "{a}": "left"}
        return self.info

    def check_success(self):
        return np.bool_(self.robot.left_arm_joints[1].position >= self.goal - 1e-3)

    def set_instruction(self, instruction=None):
        self.instruction = instruction

    def get_instruction(self, instruction=None):
        return self.instruction

    def take_action(self, action, action_type="qpos"):
        if self.take_action_cnt == self.step_lim or self.eval_success:
            return
        assert action_type == "qpos" and np.shape(action) == (14,)
        self.take_action_cnt += 1
        print(f"step: {self.take_action_cnt} / {self.step_lim}", end="\r")
        self.robot.drive("left", action[:6], action[6])
        self.robot.drive("right", action[7:13], action[13])
        self.robot.settle(LAG)
        self.eval_success = bool(self.check_success())

    def get_obs(self):
        self.pictures_taken += 1
        names = [name for name in ("head_camera", "front_camera") if self.camera["collect_head_camera"]]
        if self.camera["collect_wrist_camera"]:
            names += ["left_camera", "right_camera"]
        found = {"observation": {}, "pointcloud": [], "joint_action": {}, "endpose": {}}
        for index, name in enumerate(names):
            found["observation"][name] = {"intrinsic_cv": np.eye(3)}
            if self.data_type.get("rgb", False):
                found["observation"][name]["rgb"] = self._picture(index)
        if self.data_type.get("qpos", False):
            left, right = self.robot.get_left_arm_jointState(), self.robot.get_right_arm_jointState()
            found["joint_action"] = {
                "left_arm": left[:-1],
                "left_gripper": left[-1],
                "right_arm": right[:-1],
                "right_gripper": right[-1],
                "vector": np.array(left + right),
            }
        return found

    def _picture(self, index):
        """Blue strips at both sides, which a square policy never sees; between them orange, by the step."""
        picture = np.zeros((240, 320, 3), np.uint8)
        picture[..., 2] = 255
        picture[:, 40:280] = (200, 100 + self.take_action_cnt, 10 + 20 * index)
        return picture

    def close_env(self, clear_cache=False):
        self.closed = True
