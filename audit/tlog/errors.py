"""The errors of the transparency log core; none of them quotes the content of an entry."""


class TlogError(ValueError):
    """Something about a transparency log was refused; the subclasses say what."""


class ProofError(TlogError):
    """A proof, or the claim it supports, is malformed or false. Nothing it says may be believed."""


class TileError(TlogError):
    """A tile, tile path or entry bundle is missing, too short, too large or not canonical."""


class NoteError(TlogError):
    """A key or signed note is malformed, or no trusted key vouches for it."""


class CheckpointError(TlogError):
    """A checkpoint body is malformed, or belongs to another log."""
