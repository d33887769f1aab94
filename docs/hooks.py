"""Adds the pages that are made of the sources, and puts them into the navigation."""

from typing import Any

import made
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Places in the navigation, and words alone on a line of a page, that stand for what is made.
_made: dict[str, Any] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Reads the sources and fills in the navigation."""
    _made.clear()
    _made.update(made.made())
    config.nav = [
        {title: _made["nav"].get(place, place) for title, place in entry.items()}
        for entry in config.nav or []
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for path, text in _made["pages"].items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Puts tables in the place of their names."""
    for name, text in _made["tables"].items():
        markdown = markdown.replace(f"\n{name}\n", f"\n{text}\n")
    return markdown
