"""LIBERO's two cameras, rendered on request; runs in LIBERO's interpreter.

robosuite's own settings (multisampling, reflections) cost four times as much in software rendering and change
128 px pictures by a hundredth: here both are off. Pictures are right side up, which LIBERO's are not.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

CAMERAS = ("agentview", "robot0_eye_in_hand")
_FIRST_VISIBLE_GROUP, _LAST_VISIBLE_GROUP = 1, 2
_HIDDEN_GROUP = 5
_BORDER = 1.05  # a geom's bounding sphere is kept when it comes this near to the picture's border


class Pictures:
    """Renders the scene of one robosuite simulation; its GL context is the only one of this process."""

    def __init__(self, sim: Any, size: int) -> None:
        """Make the buffers.

        Args:
            sim: robosuite's `MjSim`, with its off-screen context.
            size: Height and width of the pictures [px].
        """
        self._context = sim._render_context_offscreen
        self._model, self._data = sim.model._model, sim.data._data
        self._size = size
        self._context.gl_ctx.make_current()
        self._model.vis.quality.offsamples = 0
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = size
        self._context.con.free()
        self._context._set_mujoco_context_and_buffers()
        self._context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._groups = self._model.geom_group.copy()
        # Planes have no bounding sphere; they are always drawn.
        self._bounded = self._model.geom_rbound > 0

    def images(self) -> NDArray[np.uint8]:
        """Return what the cameras see now, shape (2, H, W, 3), RGB.

        Raises:
            RuntimeError: Another GL context is current: what would be read is not this scene.
        """
        current, ours = _current_context(), self._context.gl_ctx._context.address
        if current != ours:
            raise RuntimeError(f"expected this environment's GL context {ours} to be current, got {current}")
        return np.stack([self._render(self._model.camera(name).id) for name in CAMERAS])

    def _render(self, camera: int) -> NDArray[np.uint8]:
        self._model.geom_group[~self._in_view(camera)] = _HIDDEN_GROUP
        try:
            self._context.render(self._size, self._size, camera)
            return self._context.read_pixels(self._size, self._size)[::-1]
        finally:
            self._model.geom_group[:] = self._groups

    def _in_view(self, camera: int) -> NDArray[np.bool_]:
        """Tell which geoms can be in the picture: MuJoCo sends all of them through the renderer."""
        rotation = self._data.cam_xmat[camera].reshape(3, 3)
        x, y, z = ((self._data.geom_xpos - self._data.cam_xpos[camera]) @ rotation).T
        half = np.radians(self._model.cam_fovy[camera]) / 2 * _BORDER
        radius = self._model.geom_rbound
        # Signed distance from the four sides of the camera's pyramid; it looks along -z.
        sides = [side * np.cos(half) + z * np.sin(half) for side in (x, -x, y, -y)]
        return (np.max(sides, axis=0) < radius) & (z < radius) | ~self._bounded


def _current_context() -> int | None:
    from mujoco.egl import egl_ext

    current = egl_ext.eglGetCurrentContext()
    return current.address if current else None
