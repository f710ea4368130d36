"""The bundles of a server: loaded when asked for, within a limit of memory."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sdopt.errors import InvalidValueError, SdoptError, UnknownNameError
from sdopt.pipeline import Pipeline
from sdopt.serve.claims import Claim, Source, Switches

_log = logging.getLogger(__name__)


class Shelf:
    """Keeps pipelines, and loads and drops them. Safe for use from several threads at once.

    Claims are granted in order of arrival, but one that waits for its bundle does not hold up
    those of loaded ones, whose steps go on while another is loaded. Bundles that nobody claims
    leave when their memory is needed, the least recently used first. So that a bundle which is
    asked for all the time cannot keep another out for ever, a claim that has waited for memory
    for ``patience_s`` holds up the later ones, until the bundles in use become idle.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        memory_bytes: int | None = None,
        *,
        patience_s: float = 5.0,
    ) -> None:
        """Load nothing yet.

        Args:
            sources: The bundles by name, the default one first.
            memory_bytes: What the loaded ones may take together; None for no limit.
            patience_s: See above, in seconds.

        Raises:
            InvalidValueError: One of them does not fit even alone.
        """
        self._sources, self._memory_bytes = dict(sources), memory_bytes
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Pipeline] = OrderedDict()
        self._users: Counter[str] = Counter()
        self._waiting: list[Claim] = []
        self._loading: str | None = None
        self._switches: Switches | None = None
        self._loader = ThreadPoolExecutor(1, "sdopt-load")
        largest = max(sources, key=lambda name: sources[name].needed_bytes)
        needed = sources[largest].needed_bytes
        if memory_bytes is not None and needed > memory_bytes:
            allowed = f"at least {needed} bytes, which {largest} takes as estimated"
            raise InvalidValueError("memory", f"{memory_bytes} bytes", allowed)

    @classmethod
    def of(cls, pipelines: Mapping[str, Pipeline]) -> Shelf:
        """Return a shelf of pipelines that are loaded, and stay."""
        shelf = cls(
            {
                name: Source(bundle=one.bundle, needed_bytes=0, load=partial(_itself, one))
                for name, one in pipelines.items()
            }
        )
        shelf._loaded.update(pipelines)
        return shelf

    def attach(self, switches: Switches) -> None:
        """Tell somebody of bundles that come and go from now on."""
        self._switches = switches

    @property
    def names(self) -> tuple[str, ...]:
        """Every bundle, loaded or not, the default one first."""
        return tuple(self._sources)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The bundles that are loaded, the least recently used first."""
        with self._lock:
            return tuple(self._loaded)

    @property
    def waiting(self) -> int:
        """How many claims wait for their bundle."""
        with self._lock:
            return len(self._waiting)

    def source(self, name: str) -> Source:
        """Return what is known of a bundle.

        Raises:
            UnknownNameError: There is none of this name.
        """
        if name not in self._sources:
            raise UnknownNameError("model", name, self.names)
        return self._sources[name]

    def pipeline(self, name: str) -> Pipeline:
        """Return the pipeline of a bundle that the caller claims."""
        return self._loaded[name]

    def claim(self, name: str) -> Claim:
        """Ask for a bundle; whoever does leaves the claim when done, granted or not.

        Raises:
            UnknownNameError: There is none of this name.
        """
        self.source(name)
        claim = Claim(name)
        with self._lock:
            self._waiting.append(claim)
        self._serve()
        return claim

    def share(self, name: str) -> Claim:
        """Claim a bundle once more, at once; the caller claims it already."""
        claim = Claim(name)
        with self._lock:
            self._grant(claim)
        claim.pipeline.set_result(self._loaded[name])
        return claim

    def leave(self, claim: Claim) -> None:
        """End a claim. One that has ended is no error."""
        with self._lock:
            if claim in self._waiting:
                self._waiting.remove(claim)
            elif claim.granted:
                claim.granted = False
                self._users[claim.name] -= 1
        self._serve()

    def refuse(self, error: SdoptError) -> None:
        """Fail every claim that waits."""
        with self._lock:
            refused, self._waiting = self._waiting, []
        for claim in refused:
            claim.pipeline.set_exception(error)

    def close(self) -> None:
        """End the thread."""
        self._loader.shutdown()

    def _serve(self) -> None:
        """Grant what can be granted, and begin to load what is asked for next."""
        with self._lock:
            granted = self._grant_the_loaded()
            wanted = next((c.name for c in self._waiting if c.name not in self._loaded), None)
            leaving = None if wanted is None or self._loading else self._room_for(wanted)
            if wanted is not None and leaving is not None:
                self._loading = wanted
                dropped = [(name, self._loaded.pop(name)) for name in leaving]
                self._loader.submit(partial(self._switch, wanted, [name for name, _ in dropped]))
                del dropped
        for claim, pipeline in granted:
            claim.pipeline.set_result(pipeline)

    def _grant_the_loaded(self) -> list[tuple[Claim, Pipeline]]:
        granted, now = [], time.monotonic()
        for claim in tuple(self._waiting):
            if claim.name in self._loaded:
                self._waiting.remove(claim)
                self._grant(claim)
                granted.append((claim, self._loaded[claim.name]))
            elif now - claim.since_s > self._patience_s and self._loading is None:
                break
        return granted

    def _grant(self, claim: Claim) -> None:
        claim.granted = True
        self._users[claim.name] += 1
        self._loaded.move_to_end(claim.name)

    def _room_for(self, name: str) -> list[str] | None:
        """Return which idle bundles have to leave for another; None if that is not enough."""
        if self._memory_bytes is None:
            return []
        free = self._memory_bytes - sum(self._sources[one].needed_bytes for one in self._loaded)
        leaving = []
        for one in self._loaded:
            if free >= self._sources[name].needed_bytes:
                break
            if not self._users[one]:
                leaving.append(one)
                free += self._sources[one].needed_bytes
        return leaving if free >= self._sources[name].needed_bytes else None

    def _switch(self, name: str, leaving: list[str]) -> None:
        """Let bundles go, and load another; on the shelf's own thread."""
        begin = time.monotonic()
        try:
            for one in leaving:
                _log.info("Model %s leaves: its memory is needed for %s", one, name)
                if self._switches:
                    self._switches.leaving(one)
            gc.collect()  # what is still held in circles would be memory beyond the limit
            pipeline = self._sources[name].load()
        except Exception as error:  # noqa: BLE001 - told to everybody who waits for this bundle
            _log.exception("Model %s could not be loaded", name)
            self._failed(name, error)
            return
        seconds = time.monotonic() - begin
        _log.info("Model %s loaded in %.1f s", name, seconds)
        if self._switches:
            self._switches.loaded(name, pipeline, seconds)
        with self._lock:
            self._loading, self._loaded[name] = None, pipeline
        self._serve()

    def _failed(self, name: str, error: Exception) -> None:
        with self._lock:
            self._loading = None
            failed = [claim for claim in self._waiting if claim.name == name]
            self._waiting = [claim for claim in self._waiting if claim.name != name]
        for claim in failed:
            claim.pipeline.set_exception(error)
        self._serve()


def _itself(pipeline: Pipeline) -> Pipeline:
    return pipeline
