"""Compares each day with the reference window; the exit status names the kind of alarm.

spark-submit jobs/monitor.py conf/demo.yaml [--day D | --from A --to B] [--json] [key=value ...]
"""

from reweight.monitor.stage import monitor
from reweight.monitor.status import status
from reweight.runner.flags import Flag, day_flags
from reweight.runner.job import main

FLAGS = (
    *day_flags("monitoring"),
    Flag("json", "monitoring.json_line", None, "print one line of JSON at the end"),
)

if __name__ == "__main__":
    main(monitor, flags=FLAGS, status=status)
