"""Cameras behind one protocol: what the camera node and the in-process runtime take pictures from."""
