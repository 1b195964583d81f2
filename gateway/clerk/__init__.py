"""The clerk: writes down in the background what time alone has brought about."""
