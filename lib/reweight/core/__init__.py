"""What every stage builds on: sections, errors, tables, the store, the session and runs."""
