"""Takes the log of a day, or of several days one after the other.

spark-submit jobs/daily.py conf/daily_demo.yaml --day 2026-01-21 [key=value ...]
spark-submit jobs/daily.py conf/daily_demo.yaml --from 2026-01-21 --to 2026-01-30
"""

from reweight.daily.stage import daily
from reweight.runner.flags import Flag
from reweight.runner.job import main

FLAGS = (
    Flag("day", "daily.day", "DAY", "the day, UTC, such as 2026-01-31"),
    Flag("from", "daily.begin", "DAY", "the first of several days"),
    Flag("to", "daily.end", "DAY", "the last of several days"),
)

if __name__ == "__main__":
    main(daily, flags=FLAGS)
