"""Finding records: the filter language, its queries, and who may see what; every search is a record itself."""
