"""Takes the log of a day, or of several days one after the other.

spark-submit jobs/daily.py conf/daily_demo.yaml --day 2026-01-21 [key=value ...]
spark-submit jobs/daily.py conf/daily_demo.yaml --from 2026-01-21 --to 2026-01-30
"""

from reweight.daily.stage import daily
from reweight.runner.flags import day_flags
from reweight.runner.job import main

if __name__ == "__main__":
    main(daily, flags=day_flags("daily"))
