"""LIBERO behind a process of its own: its tasks, initial states, simulation and pictures.

`simulation`, `pictures`, `server` and `index_tasks` run in LIBERO's interpreter; everything else runs in ours
and never imports LIBERO, robosuite or their versions of MuJoCo and numpy.
"""
