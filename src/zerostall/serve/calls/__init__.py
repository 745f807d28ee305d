"""Calls of tools, as the families of models write them: read while they come, and demanded."""
