"""The smallest useful policy: `oompolicy rank --policy examples/spare_the_database.py`."""

from oompolicy import DEFER, SPARE, OomControl, Task, Verdict, policy


@policy
def spare_the_database(task: Task, oc: OomControl) -> int | Verdict:
    """Postgres and its workers live as long as anybody else can die."""
    return SPARE if task.comm == "postgres" else DEFER
