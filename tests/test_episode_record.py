"""The view that all formats share: no column without its name, no robot taken for another."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_fixtures import dual_arm, libero_like

from dygro_ros.errors import DataError
from dygro_ros.layout import JOINT_NAMES
from training.episode_record import in_order, require_names, stack_views

REVERSED = JOINT_NAMES[::-1]


def test_a_column_without_a_name_is_refused() -> None:
    record = dual_arm()
    with pytest.raises(ValueError, match=r"action must have shape \(60, 14\), got \(60, 13\)"):
        replace(record, action=record.action[:, :13])
    with pytest.raises(ValueError, match=r"action must have shape \(60, 14\), got \(59, 14\)"):
        replace(record, action=record.action[:59])
    with pytest.raises(ValueError, match=r"images must have shape \(60, 2, H, W, 3\)"):
        replace(record, cameras=("head_camera", "left_camera"))


def test_another_robot_and_another_order_are_told_apart() -> None:
    record = dual_arm()
    require_names("here", record, JOINT_NAMES, JOINT_NAMES)
    turned = replace(record, action_names=REVERSED)
    with pytest.raises(DataError, match=r"here: action must be in the order left_joint1, .*convert_dataset"):
        require_names("here", turned, JOINT_NAMES, JOINT_NAMES)
    with pytest.raises(DataError, match=r"here: proprio is another robot's: expected left_.*found ee_x"):
        require_names("here", libero_like(), JOINT_NAMES, JOINT_NAMES)


def test_columns_are_brought_into_order_by_their_names() -> None:
    record = dual_arm()
    turned = replace(
        record,
        proprio=record.proprio[:, ::-1],
        proprio_names=REVERSED,
        action=record.action[:, ::-1],
        action_names=REVERSED,
        executed=record.executed[:, ::-1],
    )
    found = in_order(turned, JOINT_NAMES, JOINT_NAMES)
    for name in ("proprio", "action", "executed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(record, name))
    assert found.proprio_names == found.action_names == JOINT_NAMES
    assert in_order(libero_like(), JOINT_NAMES, JOINT_NAMES).action_names[0] == "delta_x"


def test_steps_are_told_from_targets_by_their_names() -> None:
    assert dual_arm().has_targets and not libero_like().has_targets


def test_cameras_of_two_sizes_are_refused() -> None:
    views = [np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 8, 10, 3), np.uint8)]
    with pytest.raises(DataError, match="x: cameras must have one size, found a 8 x 8 px, b 10 x 8 px"):
        stack_views("x", ("a", "b"), views, 3)
    assert stack_views("x", (), [], 3).shape == (3, 0, 0, 0, 3)
