"""A Kubernetes node: best-effort pods die first, then burstable ones, then guaranteed ones; the node itself last."""

from oompolicy import DEFER, SPARE, OomControl, Task, Verdict, policy

STEP = 1 << 40  # pages: more than any badness, so that the class decides before the size does


@policy
def kubernetes_node(task: Task, oc: OomControl) -> int | Verdict:
    """By the kubelet's QoS cgroups (systemd driver, or the plain one); inside a class, the biggest first."""
    memcg = task.memcg
    if memcg is None:
        return DEFER
    if memcg.is_under("/kubepods.slice/kubepods-besteffort.slice") or memcg.is_under("/kubepods/besteffort"):
        return 3 * STEP + task.badness
    if memcg.is_under("/kubepods.slice/kubepods-burstable.slice") or memcg.is_under("/kubepods/burstable"):
        return 2 * STEP + task.badness
    if memcg.is_under("/kubepods.slice") or memcg.is_under("/kubepods"):
        return STEP + task.badness
    if memcg.is_under("/system.slice"):
        return SPARE
    return DEFER
