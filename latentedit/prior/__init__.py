"""A prior of style codes: a small flow that knows their tags, and the editors that it makes."""
