"""Makes the pages of methods, stages, tables and the config from the library's sources.

The sources are parsed and never imported, so neither Spark nor torch has to be installed. A new
method in the union, a new stage, table or setting gets its page or row without further work; the
text is that of its docstring.
"""

from typing import Any

import griffe

from made.classes import ROOT
from made.methods import method_index, method_pages
from made.rankers import ranker_table
from made.reference import conditions, config_page, faults, table_page
from made.stages import stage_index, stage_pages

_PACKAGE = "reweight"


def made() -> dict[str, Any]:
    """Makes everything that comes from the sources.

    Returns:
        ``pages``: Markdown by path; ``nav``: navigation entries by placeholder; ``tables``:
        Markdown by the placeholder that stands for it in a written page.
    """
    sources = griffe.load(
        _PACKAGE,
        search_paths=[str(ROOT / "lib")],
        docstring_parser="google",
        allow_inspection=False,
    )
    methods, stages = list(method_pages(sources)), list(stage_pages(sources))
    pages = {f"methods/{m.name}.md": m.page() for m in methods}
    pages |= {f"stages/{s.name}.md": s.page(stages) for s in stages}
    pages |= {
        "methods/index.md": method_index(methods),
        "stages/index.md": stage_index(stages),
        "config.md": config_page(sources),
        "tables.md": table_page(sources, stages),
    }
    return {
        "pages": pages,
        "nav": {
            "METHODS": ["methods/index.md", *[{m.name: f"methods/{m.name}.md"} for m in methods]],
            "STAGES": ["stages/index.md", *[{s.name: f"stages/{s.name}.md"} for s in stages]],
        },
        "tables": {
            "FAULTS": faults(sources),
            "CONDITIONS": conditions(),
            "RANKERS": ranker_table(sources),
        },
    }
