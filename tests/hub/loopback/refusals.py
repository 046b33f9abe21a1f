"""The Hub's ways to say no, worded and numbered like the real ones: clients choose their error type by them."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 (it is an answer, not a mistake)
    """An answer other than success.

    Args:
        status: of HTTP.
        message: goes to the body and to ``X-Error-Message``.
        code: ``X-Error-Code``, which huggingface_hub turns into its own error types.
        headers: any further ones.
    """

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def no_repository(known_user: bool) -> Refusal:
    """Missing or hidden: who is not logged in gets 401 instead of 404, as he might be allowed once he is."""
    return Refusal(404 if known_user else 401, "Repository not found", "RepoNotFound")


def no_revision(revision: str) -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def no_entry(path: str, commit: str) -> Refusal:
    return Refusal(404, f"{path} does not exist", "EntryNotFound", X_Repo_Commit=commit)


def gated(name: str, known_user: bool) -> Refusal:
    if known_user:
        return Refusal(
            403, f"Access to {name} is restricted and you are not in the authorized list.", "GatedRepo"
        )
    return Refusal(401, f"Access to {name} is restricted. Please log in.", "GatedRepo")


def wrong_token() -> Refusal:
    return Refusal(401, "Invalid credentials in Authorization header")


def not_logged_in() -> Refusal:
    return Refusal(401, "Invalid username or password.")


def may_not_create(kind: str, namespace: str) -> Refusal:
    return Refusal(403, f"You don't have the rights to create a {kind} under the namespace {namespace!r}")


def needs_write_token() -> Refusal:
    return Refusal(403, "Forbidden: you must use a write token to upload to a repository.")


def moved_on() -> Refusal:
    return Refusal(412, "A commit has happened since. Please refresh and try again.")
