"""What the command line reads of learning without a running router: straight from the ledger's store."""

from pathlib import Path

from router.adapters.evidence_store import EvidenceStore
from router.adapters.policy_store import PolicyStore
from router.adapters.sqlite_file import SqliteFile
from router.learning.replay import thresholds_between
from router.learning.review import Review, review
from router.learning.versions import State, Version
from router.request import Tier
from router.settings import RouterSettings
from servicekit.errors import NotFound

LOWEST, HIGHEST, STEP = 0.7, 1.0, 0.025


def look_back(settings: RouterSettings, revision: str = "") -> Review:
    """How the policy that serves, or another one, stands. Raises NotFound and Unavailable."""
    file = ledger_file(settings)
    if file is None:
        raise NotFound("NO_LEDGER", f"There is no ledger in {settings.ledger.folder} to look back on.")
    file.migrate()
    version = chosen_version(PolicyStore(file), settings, revision)
    tiers = tuple(tier for tier in Tier if tier.name in settings.tiers)
    evidence = EvidenceStore(file).evidence(tiers)
    return review(evidence, version, version.policy, thresholds_between(LOWEST, HIGHEST, STEP))


def serving_revision(settings: RouterSettings) -> str:
    """The promoted policy that serves; empty when it is the configuration's own. Raises Unavailable."""
    file = ledger_file(settings)
    if file is None:
        return ""
    file.migrate()
    serving = PolicyStore(file).serving()
    return serving.version.policy.revision if serving is not None else ""


def chosen_version(store: PolicyStore, settings: RouterSettings, revision: str) -> Version:
    """The version named, or the one that serves for an empty name. Raises NotFound."""
    from router.composition import catalogue  # noqa: PLC0415 - brings the backends' client: slow to import, rarely needed

    own = catalogue.policy(settings.policy)
    if not revision:
        serving = store.serving()
        return serving.version if serving is not None else Version(own, State.CONFIGURED, "")
    found = Version(own, State.CONFIGURED, "") if revision == own.revision else store.get(revision)
    if found is None:
        raise NotFound("POLICY_NOT_FOUND", f"There is no policy of the revision {revision}.")
    return found


def ledger_file(settings: RouterSettings) -> SqliteFile | None:
    """The ledger's file; None when it is switched off or nothing was kept yet."""
    path: Path = settings.ledger.folder / "ledger.sqlite"
    return SqliteFile(path) if settings.ledger.enabled and path.exists() else None
