"""The picture of sharing: a heat map of who shares with whom and a scorecard, as a page to be sent and on a terminal. Pure."""
