"""The log against the departments' own journals: two parties wrote down the same exchanges, and neither trusts the other."""
