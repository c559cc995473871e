"""Rules: when memory is short, who is to go and what is done, before the kernel must.

    readings.py -> look.py (of one scope, now and before) -> fields.py (the table of names)
    syntax.py (text -> tree.py) -> condition.py (true or false, words.py says why) -> watch.py (when to look again)
    python_rule.py (a function instead of a condition)
    rule.py, scopes.py, protect.py -> judge.py (which rule fires where, with what it remembers in cases.py)

Belongs here: conditions, rules, and the pure judgement (state, readings, now) -> (state, orders). Does no I/O and
reads no clock. Must not know: where readings come from (sources/), how an order is carried out (backends/kill), who is
chosen among the candidates (policy/).
"""
