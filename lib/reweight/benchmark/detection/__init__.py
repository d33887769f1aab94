"""The detection benchmark: how well methods find damage planted in known tables."""
