"""BatchQuery: one exchange about many subjects, each with an outcome of its own."""
