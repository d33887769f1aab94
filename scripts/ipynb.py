"""Converts Databricks notebook sources for Jupyter: python ipynb.py FOLDER SOURCE ..."""

import json
import sys
from pathlib import Path
from typing import Any

HEADER = "# Databricks notebook source\n"
BETWEEN = "\n# COMMAND ----------\n"
MAGIC = "# MAGIC"


def notebook(source: str) -> dict[str, Any]:
    """The source as a notebook in nbformat 4.5, without outputs."""
    cells = [text.strip() for text in source.removeprefix(HEADER).split(BETWEEN)]
    return {
        "cells": [_cell(number, text) for number, text in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(number: int, text: str) -> dict[str, Any]:
    common: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
    if not text.startswith(MAGIC):
        return common | {
            "cell_type": "code",
            "source": text,
            "execution_count": None,
            "outputs": [],
        }
    lines = [line.removeprefix(MAGIC).removeprefix(" ") for line in text.splitlines()]
    return common | {"cell_type": "markdown", "source": "\n".join(lines).removeprefix("%md\n")}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in map(Path, sys.argv[2:]):
        target = folder / f"{path.stem}.ipynb"
        target.write_text(json.dumps(notebook(path.read_text()), indent=1) + "\n")
        print(target)
