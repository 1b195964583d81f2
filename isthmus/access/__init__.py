"""Who may call which method: one table of roles and methods for every server, as Cedar rules."""

from isthmus.access.authorise import ControlAuthoriser, ControlPolicyInvalid

__all__ = ["ControlAuthoriser", "ControlPolicyInvalid"]
