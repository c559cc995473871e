"""Rules: when memory is short, who is to go and what is done, before the kernel must.

    readings.py (what a condition reads) -> condition.py (text -> tree -> true or false) -> rule.py -> judge.py

Belongs here: conditions, rules, and the pure judgement (state, readings, now) -> (state, orders). Does no I/O and
reads no clock. Must not know: where readings come from (sources/), how an order is carried out (backends/kill), who is
chosen among the candidates (policy/).
"""
