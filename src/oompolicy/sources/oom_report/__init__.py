"""The kernel's OOM reports in logs of any form: read, written, and made into snapshots.

Belongs here: everything about the text of a report. Must not know: policies, comparisons, tables for people.
"""

from oompolicy.sources.oom_report.log_file import LogFile
from oompolicy.sources.oom_report.log_parser import LogParser, read_reports
from oompolicy.sources.oom_report.report import Counter, Kill, KilledBy, OomReport, TaskRow

__all__ = [
    "Counter",
    "Kill",
    "KilledBy",
    "LogFile",
    "LogParser",
    "OomReport",
    "TaskRow",
    "read_reports",
]
