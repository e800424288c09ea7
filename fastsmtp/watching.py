"""What lets a server be watched: metrics, health, and a page for people."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import fastsmtp
from fastsmtp.config import Config
from fastsmtp.config.meaning_relay import read_secret
from fastsmtp.depths import Crowded, depths_of
from fastsmtp.glance.figures import figures
from fastsmtp.glance.history import HOURS, History
from fastsmtp.glance.page import KIND, Page, Server
from fastsmtp.net.certificates import Expiries
from fastsmtp.queue import listing
from fastsmtp.queue.message import queue_id
from fastsmtp.roles import Process
from fastsmtp.scrape import CONTENT_TYPE, OPEN_TYPE, Scrape, commit
from fastsmtp.serve.http import Answer, Guard, HttpServer, Route
from fastsmtp.serve.http import watching as routes
from fastsmtp.store.lmdb import LmdbStore

OK: Final = HTTPStatus.OK
SHORT: Final = "/status"
LONG: Final = "/status/6h"


@asynccontextmanager
async def watched(
    process: Process,
    sockets: Sequence[socket.socket],
    store: LmdbStore,
    ready: Callable[[], str | None],
) -> AsyncIterator[Scrape]:
    """Serve all of it. `ready` gives the reason why mail is not taken.

    Raises `OSError` or `ValueError` when the file of the token cannot be read."""
    config = process.config

    def depth() -> dict[str, listing.Depth]:
        depths = depths_of(process.pages, store)
        return {state.value: depth for state, depth in depths.items()}

    paths = {"data": config.data, "run": config.run}
    expiries = Expiries(config.tls.certificates).read
    top = Crowded(store).fullest
    scrape = Scrape(process.pages, paths, depth, expiries, top)
    look = partial(figures, process.pages, depth, top)
    history = History(look)
    page = Page(look, history, partial(about, config, scrape, ready))
    known = routes(lambda: (scrape.text(), CONTENT_TYPE), ready) | shown(page)
    scrape.spell = queue_id
    openly = {"/metrics": lambda: Answer(OK, scrape.open_text(), OPEN_TYPE)}
    guard = Guard(frozenset((SHORT, LONG)), token(config))
    server = HttpServer(known, guard, openly)
    for sock in sockets:
        await server.listen(sock)
    try:
        yield scrape
    finally:
        history.stop()
        server.close()


def shown(page: Page) -> dict[str, Route]:
    def text(hours: float) -> Answer:
        return Answer(HTTPStatus.OK, page.text(hours), KIND)

    return {SHORT: lambda: text(1), LONG: lambda: text(HOURS)}


def token(config: Config) -> str:
    """Who has it may see the page from another machine; "" is nobody."""
    file = config.metrics.token_file
    return read_secret(file).strip() if file else ""


def about(config: Config, scrape: Scrape, ready: Callable[[], str | None]) -> Server:
    return Server(
        name=config.hostname,
        version=fastsmtp.__version__,
        commit=commit(Path(fastsmtp.__file__).parent.parent),
        started=scrape.started,
        trouble=ready(),
        reloaded=scrape.reloaded_at,
        refused=not scrape.good,
    )
