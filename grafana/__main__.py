"""python -m grafana: write the dashboards."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from grafana import overview, queue, store
from grafana.panels import board

FOLDER: Final = Path(__file__).parent / "dashboards"
BOARDS: Final = {
    "overview": ("fastsmtp Overview", overview),
    "queue": ("fastsmtp Queue", queue),
    "store": ("fastsmtp Store", store),
}


def texts() -> dict[str, str]:
    """name of the file -> what stands in it"""
    return {
        f"{name}.json": board(name, title, module.DOC, module.ROWS)
        for name, (title, module) in BOARDS.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
