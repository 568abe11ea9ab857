"""LIBERO's two cameras, rendered on request; runs in LIBERO's interpreter.

In software rendering robosuite's own pictures cost seven times as much. Here multisampling and reflections
are off, what is out of view is not drawn, and of the robot's and the room's 200,000 triangles those are left
out that are smaller than a pixel. Pictures are right side up, which LIBERO's are not.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim2real.libero.interface import CAMERAS

_HIDDEN_GROUP = 5
_DISTANT_BODIES = ("world", "mount0", "robot0_link")  # never much nearer to a camera than a metre
_PIXEL_M = 0.5  # of a picture of 1 px, at a distance of a metre: a point is moved by less than a pixel
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
        self._leave_out_small_triangles(_PIXEL_M / size)
        self._context.con.free()
        self._context._set_mujoco_context_and_buffers()
        self._context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._groups = self._model.geom_group.copy()
        # Planes have no bounding sphere; they are always drawn.
        self._bounded = self._model.geom_rbound > 0

    def _leave_out_small_triangles(self, cell_m: float) -> None:
        """Join the points of distant bodies' meshes within cells of this size; nothing collides with them."""
        model = self._model
        for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_MESH):
            body, mesh = model.body(model.geom_bodyid[geom]).name, model.geom_dataid[geom]
            if body.startswith(_DISTANT_BODIES) and not self._collides(mesh):
                points = slice(model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh])
                faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
                kept = joined_faces(model.mesh_vert[points], model.mesh_face[faces], cell_m)
                chosen = np.flatnonzero(kept[:, 0] >= 0)
                shorter = slice(faces.start, faces.start + len(chosen))
                model.mesh_face[shorter] = kept[chosen]
                for array in (model.mesh_facenormal, model.mesh_facetexcoord):
                    array[shorter] = array[faces][chosen]
                model.mesh_facenum[mesh] = len(chosen)

    def _collides(self, mesh: int) -> bool:
        of_mesh = (self._model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (self._model.geom_dataid == mesh)
        return bool((self._model.geom_contype[of_mesh] | self._model.geom_conaffinity[of_mesh]).any())

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


def joined_faces(points: NDArray[np.float32], faces: NDArray[np.int32], cell_m: float) -> NDArray[np.int32]:
    """Return faces, shape (F, 3), whose corners are one point a cell; -1 where a face has become a line.

    Args:
        points: Shape (P, 3) [m].
        faces: Indices of their corners, shape (F, 3).
        cell_m: Edge of the cubic cells [m].
    """
    cells = np.floor(points / cell_m).astype(np.int64)
    _, first, cell_of = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    joined = first[cell_of.reshape(-1)][faces].astype(np.int32)
    flat = (joined == np.roll(joined, 1, axis=1)).any(axis=1)
    return np.where(flat[:, None], np.int32(-1), joined)


def _current_context() -> int | None:
    from mujoco.egl import egl_ext

    current = egl_ext.eglGetCurrentContext()
    return current.address if current else None
