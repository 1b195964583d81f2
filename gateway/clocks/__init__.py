"""Time limits as data: working days, deadlines, and the rule packs that set them. Pure: no clock is read here."""
