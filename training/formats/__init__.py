"""Formats of recorded demonstrations: each is read into, and written from, `training.episode_record`."""
