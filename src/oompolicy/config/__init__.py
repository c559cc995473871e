"""oompolicy.toml and its drop-ins: what they may say, and where they are wrong.

    schema.py (the keys) -> values.py (durations, sizes) -> rows.py (rows become rules) -> load.py (files become one
    configuration); places.py and refusal.py say what is wrong, and where

Belongs here: the keys with their types and defaults, and errors with their place in the file.
Must not know: what a backend, a policy or the judge does with a value.
"""

from oompolicy.config.load import DEFAULT_PATH, Config, drop_ins, load_config
from oompolicy.config.schema import AssignRow, Backend, Drift, Parameter, Value

__all__ = [
    "DEFAULT_PATH",
    "AssignRow",
    "Backend",
    "Config",
    "Drift",
    "Parameter",
    "Value",
    "drop_ins",
    "load_config",
]
