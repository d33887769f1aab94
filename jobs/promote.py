"""Lets a challenger's weights go live if they are better than the live ones on the same rows.

spark-submit jobs/promote.py conf/demo.yaml --challenger RUN [--against RUN]
spark-submit jobs/promote.py conf/demo.yaml --rollback | --history
"""

from reweight.promote.stage import promote
from reweight.runner.flags import Flag
from reweight.runner.job import main

FLAGS = (
    Flag("challenger", "promotion.challenger", "RUN", "run whose weights may go live"),
    Flag("against", "promotion.against", "RUN", "run that has the live weights on its rows"),
    Flag("rollback", "promotion.rollback", None, "the version before the live one goes live"),
    Flag("history", "promotion.history", None, "show the decisions so far"),
)

if __name__ == "__main__":
    main(promote, flags=FLAGS)
