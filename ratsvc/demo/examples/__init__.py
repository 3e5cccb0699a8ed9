"""The demos of the in-process API: a blueprint each, for any Quart app. Their pages show these files."""
