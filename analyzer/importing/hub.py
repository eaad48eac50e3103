"""Fetches a model folder by its hub name, where the hub can be reached; an interrupted download is resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from analyzer.importing.checkpoint import ImportFailedError
from analyzer.importing.huggingface import HuggingFaceCheckpoint, licence_of_readme
from analyzer.manifest import BaseWeights

WANTED_FILES = (
    "config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
    "README.md",
)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class HubUnreachableError(ImportFailedError):
    """The hub gave no answer, or would not hand the model out; the message says what to do instead."""


def is_hub_name(text: str) -> bool:
    """Says whether `text` reads like `owner/model`."""
    return _NAME.fullmatch(text) is not None


def open_from_hub(
    name: str, cache: Path, *, download: Callable[..., str | list[object]] = huggingface_hub.snapshot_download
) -> HuggingFaceCheckpoint:
    """Returns the checkpoint `owner/model`, its files kept in `cache`; raises HubUnreachableError."""
    folder = cache / "hub" / name.replace("/", "--")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        download(repo_id=name, local_dir=folder, allow_patterns=list(WANTED_FILES))
    except GatedRepoError as error:
        raise HubUnreachableError(f"{name} is gated: accept its licence on its page, then set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise HubUnreachableError(f"the hub knows no model {name}; check its spelling") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise HubUnreachableError(
            f"{name} could not be fetched from the hub ({type(error).__name__}). What came is kept: run this again to "
            "resume. Without a network, copy the model's folder here and import that."
        ) from error
    base = BaseWeights(name=name, licence=licence_of_readme(folder / "README.md"), source=f"hub:{name}")
    return HuggingFaceCheckpoint(folder, base=base)
