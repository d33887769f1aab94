"""The conditions benchmark: which weights help the ranker under which fault."""
