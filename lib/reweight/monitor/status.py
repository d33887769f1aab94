"""The exit status of the job, and its line for a scheduler."""

import json
from typing import Any

from reweight.core.run import JobRun


def status(run: JobRun[Any]) -> int:
    """The exit status: that of the most urgent alarm of the days that were looked at last."""
    last_report = json.loads(run.folder.content("monitor").read_text())["last"]
    if run.config.monitoring.json_line:
        print(json.dumps(last_report), flush=True)
    return int(last_report["exit"])
