"""reweight: learn how much each training sample of a click or purchase log is worth."""

__version__ = "0.1.0"
