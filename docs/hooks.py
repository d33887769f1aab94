"""Adds the pages that are generated from the sources, and puts them into the navigation."""

from typing import Any

import made
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Generated pages and tables, and the lists for the navigation.
_made: dict[str, Any] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Reads the sources and fills in the navigation."""
    _made.clear()
    _made.update(made.made())
    config.nav = _filled_in(config.nav or [])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for path, text in _made["pages"].items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Replaces each line that stands for a table, and says so where pages are read unbuilt."""
    for name, table in _made["tables"].items():
        stand_in = f"*{name}: a table on the pages that `make docs` builds.*"
        markdown = markdown.replace(f"\n{stand_in}\n", f"\n{table}\n")
    return markdown


def _filled_in(entry: Any) -> Any:
    """A navigation entry of any depth, with the generated lists in place of their names."""
    if isinstance(entry, list):
        return [_filled_in(part) for part in entry]
    if isinstance(entry, dict):
        return {title: _filled_in(part) for title, part in entry.items()}
    return _made["nav"].get(entry, entry)
