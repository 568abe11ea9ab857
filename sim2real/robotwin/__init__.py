"""RoboTwin 2.0: our policy inside it, and it as a simulator in a process of its own.

Nothing here imports SAPIEN: RoboTwin pins Python 3.10 and its own versions of most libraries. What runs in
its interpreter (`classic`, `server` and what they import) needs numpy and the robot side alone.
"""
