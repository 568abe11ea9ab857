from ._base_task import Base_Task


class lift_pot(Base_Task):
    def setup_demo(self, **args):
        self._init_task_env_(**args)

    def _chosen(self, objects):
        return []
