"""Checkpoints on the Hugging Face hub, as ``org/name`` or ``org/name@revision``.

Only the files that an export reads are downloaded, into the hub's own cache, where a download that
was interrupted goes on and a second one finds everything. Token, cache and address come from where
huggingface_hub looks for them: ``hf auth login`` or HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sdopt.errors import HubError, MissingDependencyError
from sdopt.export.progress import Report

_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_WEIGHTS = re.compile(
    r"(?P<base>model|diffusion_pytorch_model)(\.(?P<variant>(?!safetensors)[\w]+))?"
    r"(-\d+-of-\d+)?\.safetensors(\.index(\.(?P<index_variant>\w+))?\.json)?"
)
_NETWORKS = ("text_encoder", "text_encoder_2", "unet", "vae")
_WORDS = ("tokenizer", "tokenizer_2")
_INDEX = "model_index.json"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the hub.

    Attributes:
        repository: ``org/name``.
        revision: A branch, tag or commit; None for the default branch.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubModel | None:
        """Read ``org/name`` or ``org/name@revision``; None for anything else."""
        found = _ID.fullmatch(text)
        return cls(found["repository"], found["revision"]) if found else None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository


def fetch(model: HubModel, variant: str | None = None, report: Report | None = None) -> Path:
    """Download what an export reads of a model, and return its folder in the hub's cache.

    Args:
        model: Which one.
        variant: Of its weight files, as in ``model.fp16.safetensors``; None prefers those without.
        report: Called with what is being downloaded; the share stays 0, as the export comes after.

    Raises:
        HubError: The model is not there, gated, without the files that are needed, or the hub
            cannot be reached.
        MissingDependencyError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub.constants import HF_HUB_OFFLINE
    except ImportError as error:
        raise MissingDependencyError("huggingface_hub", "export") from error
    with _explained(model):
        if HF_HUB_OFFLINE:
            return _cached(model)
        info = hub.HfApi().model_info(
            model.repository, revision=model.revision, files_metadata=True
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        names = needed(model, sizes, variant)
        total_bytes = sum(sizes[name] for name in names)
        done_bytes = 0
        for name in names:
            _say(
                report, f"downloading {name} ({done_bytes / 1e9:.1f} of {total_bytes / 1e9:.1f} GB)"
            )
            place = hub.hf_hub_download(
                model.repository, name, revision=info.sha, tqdm_class=_silent()
            )
            done_bytes += sizes[name]
        return Path(place).parents[names[-1].count("/")]


def needed(model: HubModel, names: Iterable[str], variant: str | None = None) -> list[str]:
    """Choose the files of a repository that an export reads.

    Args:
        model: For messages.
        names: Every file's path.
        variant: Of the weight files.

    Returns:
        Their paths; small ones first, the largest network last.

    Raises:
        HubError: Something that is needed is not there.
    """
    there = sorted(names)
    if _INDEX not in there:
        raise HubError(
            str(model),
            f"there is no {_INDEX} in it",
            "Choose a model in the diffusers layout, or download its single safetensors file and "
            "export that",
        )
    words = [n for n in there if n.split("/")[0] in _WORDS and n.endswith((".json", ".txt"))]
    chosen = [_INDEX, "scheduler/scheduler_config.json", *words]
    for folder in ("vae", "text_encoder", "text_encoder_2", "unet"):
        files = [name for name in there if name.startswith(f"{folder}/")]
        if files:
            chosen += [f"{folder}/config.json", *_weights(model, folder, files, variant)]
    return [name for name in chosen if name in there]


def _weights(model: HubModel, folder: str, files: list[str], variant: str | None) -> list[str]:
    variants: dict[str, list[str]] = {}
    for name in files:
        if found := _WEIGHTS.fullmatch(name.rpartition("/")[2]):
            kind = found["variant"] or found["index_variant"] or ""
            variants.setdefault(kind, []).append(name)
    if not variants:
        raise HubError(
            str(model),
            f"{folder}/ holds no safetensors weights",
            "Pickled weights (.bin, .ckpt) can run any code and are never read. Ask the owner for "
            "safetensors, or choose another revision",
        )
    named = ", ".join(repr(name) for name in variants if name) or "none"
    if variant is None and "" not in variants and len(variants) > 1:
        hint = "Say which one, with variant="
        raise HubError(str(model), f"{folder}/ holds several variants: {named}", hint)
    wanted = variant if variant is not None else "" if "" in variants else next(iter(variants))
    if wanted not in variants:
        problem = f"{folder}/ holds no variant {wanted!r}"
        raise HubError(str(model), problem, f"Variants there: {named}")
    return variants[wanted]


def _cached(model: HubModel) -> Path:
    """Find a model that was downloaded before, asking nobody."""
    import huggingface_hub as hub

    place = hub.hf_hub_download(
        model.repository, _INDEX, revision=model.revision, local_files_only=True
    )
    return Path(place).parent


@contextmanager
def _explained(model: HubModel) -> Iterator[None]:
    """Turn the hub's errors into those that say what to do."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{model.repository}"
    explanations: Mapping[Any, tuple[str, str]] = {
        errors.GatedRepoError: (
            "it is gated: its owner wants you to agree to conditions first",
            f"Agree at {page}, and log in with `hf auth login` or set HF_TOKEN",
        ),
        errors.RepositoryNotFoundError: (
            "there is no such model, or it is private",
            "Check its name; for a private one log in with `hf auth login` or set HF_TOKEN",
        ),
        errors.RevisionNotFoundError: (
            f"it has no revision {model.revision!r}",
            f"Choose one of those at {page}/tree/main",
        ),
        errors.LocalEntryNotFoundError: (
            "it is not in the hub's cache, and HF_HUB_OFFLINE forbids to download it",
            "Unset HF_HUB_OFFLINE, or download it where the network is",
        ),
    }
    try:
        yield
    except tuple(explanations) as error:
        problem, hint = next(x for kind, x in explanations.items() if isinstance(error, kind))
        raise HubError(str(model), problem, hint) from error
    except _network_errors() as error:
        raise HubError(
            str(model),
            f"it cannot be downloaded ({type(error).__name__}: {_first_line(error)})",
            "Try again: what has been downloaded is kept. With HF_HUB_OFFLINE=1 a model that was "
            "downloaded before is taken from the cache",
        ) from error


def _network_errors() -> tuple[type[Exception], ...]:
    """List what huggingface_hub raises where a network fails; the library below it has changed."""
    from huggingface_hub.errors import HfHubHTTPError

    below = [import_module(name) for name in ("httpx", "httpx2") if find_spec(name) is not None]
    return (HfHubHTTPError, OSError, *(library.HTTPError for library in below))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _say(report: Report | None, what: str) -> None:
    if report is not None:
        report(what, 0.0)


def _silent() -> type[Any]:
    """Make the hub's progress bars silent: there is one bar, and it is ours."""
    from huggingface_hub.utils.tqdm import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    return Silent
