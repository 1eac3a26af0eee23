"""The page's server as one ASGI application: a guard, the routes, and the files of the page."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp

from softflow.errors import SoftflowError
from softflow.labelling.server.access import Guard
from softflow.labelling.server.requests import answer, problem
from softflow.labelling.server.routes import Served, api

PAGE = Path(__file__).parents[1] / "page"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_NO_CACHE = {"cache-control": "no-cache"}


def make_app(served: Served) -> ASGIApp:
    """All that is served; whatever goes wrong in it is said in one line of JSON."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(SoftflowError, _told)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.include_router(api(served))
    _add_page(app, served)
    return Guard(app, served.access)


def _add_page(app: FastAPI, served: Served) -> None:
    """The page's files, which are known by name: nothing a request says becomes a path."""
    there = (path for path in PAGE.rglob("*") if path.suffix in _MEDIA_TYPES)
    files = {path.relative_to(PAGE).as_posix(): path for path in there}

    @app.get("/")
    def start() -> Response:
        return shell("label" if "store" in served.places else "operator")

    @app.get("/operator")
    def operator() -> Response:
        return shell("operator")

    def shell(name: str) -> Response:
        text = files["page.html"].read_text(encoding="utf-8").replace("NAME", name)
        return HTMLResponse(text, headers=_NO_CACHE)

    @app.get("/page/{name:path}")
    def page(name: str) -> Response:
        if name not in files:
            return answer({"error": f"there is no {name!r:.60}"}, 404)
        path = files[name]
        return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers=_NO_CACHE)


async def _told(request: Request, error: Exception) -> Response:
    return problem(error)


async def _misfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return answer({"error": f"the request: {place}: {first['msg']}"}, 422)
