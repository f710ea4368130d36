"""Whether the server lives, whether it takes requests, and what it has counted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sdopt.serve.http.state import State, state_of

router = APIRouter(tags=["Health"])
_State = Annotated[State, Depends(state_of)]


@router.get("/health/live")
async def live(state: _State) -> JSONResponse:
    """Answer 200 while the engine thread runs."""
    alive = state.service.alive
    return JSONResponse({"status": "live" if alive else "dead"}, 200 if alive else 503)


@router.get("/health/ready")
async def ready(state: _State) -> JSONResponse:
    """Answer 200 while a request would be taken on."""
    service = state.service
    facts = {
        "status": "ready" if service.ready else "not ready",
        "waiting": service.waiting,
        "rows": service.rows,
        "backlog_s": round(service.backlog.seconds, 3),
        "last_step_age_s": round(service.last_step_age_s, 3),
    }
    return JSONResponse(facts, 200 if service.ready else 503)


@router.get("/metrics")
async def metrics(state: _State) -> Response:
    """Return the counters in Prometheus' text format."""
    service = state.service
    service.meters.queue_depth.set(service.backlog.waiting)
    service.meters.rows_running.set(service.rows)
    service.meters.load_waiting.set(service.models.waiting)
    loaded = service.models.loaded
    for name in service.models.names:
        service.meters.model_loaded.labels(name).set(name in loaded)
    return Response(generate_latest(service.meters.registry), media_type=CONTENT_TYPE_LATEST)
