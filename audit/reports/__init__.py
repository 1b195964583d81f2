"""What records say, in words for people."""
