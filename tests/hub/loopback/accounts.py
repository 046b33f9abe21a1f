"""Who may do what: the tokens that the loopback Hub knows."""

from __future__ import annotations

from dataclasses import dataclass

USER, ORGANISATION, OTHER_USER = "ada", "zoo", "bob"
WRITE_TOKEN, READ_TOKEN, OTHER_TOKEN = "hf_adaMayWrite", "hf_adaMayRead", "hf_bobMayWrite"


@dataclass(frozen=True)
class Account:
    """A user as one of their tokens shows them.

    Attributes:
        role: of the token, ``write`` or ``read``.
    """

    name: str
    organisations: tuple[str, ...] = ()
    role: str = "write"

    def belongs_to(self, namespace: str) -> bool:
        """Whether the user, token aside, is or is a member of that namespace."""
        return namespace in (self.name, *self.organisations)

    def describe(self) -> dict[str, object]:
        """The answer to whoami."""
        return {
            "type": "user",
            "id": self.name,
            "name": self.name,
            "fullname": self.name.title(),
            "isPro": False,
            "orgs": [{"type": "org", "id": name, "name": name} for name in self.organisations],
            "auth": {
                "type": "access_token",
                "accessToken": {
                    "displayName": "tests",
                    "role": self.role,
                    "createdAt": "2026-01-01T00:00:00.000Z",
                },
            },
        }


ACCOUNTS = {
    WRITE_TOKEN: Account(USER, (ORGANISATION,)),
    READ_TOKEN: Account(USER, (ORGANISATION,), role="read"),
    OTHER_TOKEN: Account(OTHER_USER),
}
