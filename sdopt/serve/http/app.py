"""The application: routes, guards and errors over a picture service."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from sdopt import __version__
from sdopt.serve.http import errors, health, openai_api, webui_api, webui_lists
from sdopt.serve.http.docs_page import docs_page
from sdopt.serve.http.guards import GuardMiddleware, Guards
from sdopt.serve.http.state import State
from sdopt.serve.service import PictureService

_PAGE = Path(__file__).with_name("page.html")
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def create_app(
    service: PictureService, guards: Guards | None = None, *, one_of_many: bool = False
) -> FastAPI:
    """Make an ASGI application.

    Args:
        service: Makes the pictures; whoever made it closes it.
        guards: What is asked of every request.
        one_of_many: Whether others serve the same address: then there is neither the page nor the
            AUTOMATIC1111 API, which speaks of "the" running job.
    """
    app = FastAPI(title="sdopt", version=__version__, docs_url=None, redoc_url=None)
    app.state.sdopt = State(service)
    routers = [openai_api.router, health.router]
    for router in routers if one_of_many else [*routers, webui_api.router, webui_lists.router]:
        app.include_router(router)
    _add_pages(app, page=not one_of_many)
    errors.install(app)
    app.add_middleware(
        GuardMiddleware,
        guards=guards or Guards(),
        meters=service.meters,
    )
    return app


def _add_pages(app: FastAPI, *, page: bool) -> None:
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}

    if page:

        @app.get("/", include_in_schema=False)
        async def show_page() -> HTMLResponse:
            return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()), headers=headers)
