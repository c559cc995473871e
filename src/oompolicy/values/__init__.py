"""Where opaque values come from, and which of them counts.

    given.py (told to the daemon)  unit_settings.py (in systemd's unit files)  wishes.py (of those delegated to)
    order.py (all of them, in their order)

Beside these: what is set on the cgroup itself (sources/cgroup_value.py), the table [[assign]] (assign.py), and scorers
(scoring/).

Belongs here: the order of the sources, pure. Must not know: files, sockets, what a value means.
"""

from oompolicy.values.given import GivenValues, OfCgroup, OfProcess, Whom
from oompolicy.values.order import Told, ValueOrder
from oompolicy.values.unit_settings import UnitSettings

__all__ = ["GivenValues", "OfCgroup", "OfProcess", "Told", "UnitSettings", "ValueOrder", "Whom"]
