"""Joints, articulations and a robot with the attributes of RoboTwin's."""

import numpy as np


class Joint:
    def __init__(self, name, limits):
        self.name, self._limits = name, np.array([limits], np.float32)
        self.target = self.position = 0.0

    def get_name(self):
        return self.name

    def get_limits(self):
        return self._limits

    def get_drive_target(self):
        return np.array([self.target], np.float32)


class Articulation:
    def __init__(self, joints):
        self._joints = joints

    def get_active_joints(self):
        return list(self._joints)

    def get_qpos(self):
        return np.array([joint.position for joint in self._joints], np.float32)


class Pose:
    def __init__(self, p):
        self.p, self.q = np.array(p, np.float32), np.array([1, 0, 0, 0], np.float32)


class Actor:
    def __init__(self, name, p):
        self._name, self._pose = name, Pose(p)

    def get_name(self):
        return self._name

    def get_pose(self):
        return self._pose

    get_root_pose = get_pose


class Scene:
    def __init__(self, actors, articulations):
        self._actors, self._articulations = actors, articulations

    def get_all_actors(self):
        return list(self._actors)

    def get_all_articulations(self):
        return list(self._articulations)


class Robot:
    def __init__(self, left, right):
        sides = {}
        for index, (side, config) in enumerate((("left", left), ("right", right))):
            arm = [
                Joint(name, limits)
                for name, limits in zip(
                    config["arm_joints_name"][index], config["stand_in_limits"], strict=True
                )
            ]
            fingers = [Joint(f"{side}_finger{i}", config["gripper_scale"]) for i in (7, 8)]
            sides[side] = arm, fingers
            setattr(self, f"{side}_arm_joints", arm)
            setattr(self, f"{side}_gripper", [(finger, 1.0, 0.0) for finger in fingers])
            setattr(self, f"{side}_gripper_scale", config["gripper_scale"])
            setattr(self, f"{side}_gripper_val", 0.0)
        if left["dual_arm"]:  # one articulation for both arms, whose joints alternate
            pairs = zip(*(arm + fingers for arm, fingers in sides.values()), strict=True)
            self.left_entity = self.right_entity = Articulation([joint for pair in pairs for joint in pair])
        else:
            self.left_entity, self.right_entity = (
                Articulation(arm + fingers) for arm, fingers in sides.values()
            )

    def get_left_arm_jointState(self):
        targets = [joint.get_drive_target()[0].astype(float) for joint in self.left_arm_joints]
        return [*targets, self.left_gripper_val]

    def get_right_arm_jointState(self):
        return [
            *(j.get_drive_target()[0].astype(float) for j in self.right_arm_joints),
            self.right_gripper_val,
        ]

    def get_left_tcp_pose(self):
        return [-0.3, -0.2, 0.9, 1.0, 0.0, 0.0, 0.0]

    def get_right_tcp_pose(self):
        return [0.3, -0.2, 0.9, 1.0, 0.0, 0.0, 0.0]

    def drive(self, side, joints, gripper):
        for joint, value in zip(getattr(self, f"{side}_arm_joints"), joints, strict=True):
            joint.target = float(value)
        setattr(self, f"{side}_gripper_val", float(np.clip(gripper, 0, 1)))
        closed, opened = getattr(self, f"{side}_gripper_scale")
        for finger, _, _ in getattr(self, f"{side}_gripper"):
            finger.target = closed + float(np.clip(gripper, 0, 1)) * (opened - closed)

    def settle(self, share):
        for side in ("left", "right"):
            fingers = [finger for finger, _, _ in getattr(self, f"{side}_gripper")]
            for joint in [*getattr(self, f"{side}_arm_joints"), *fingers]:
                joint.position += share * (joint.target - joint.position)
