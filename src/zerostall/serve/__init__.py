"""The HTTP server behind `zerostall serve`: OpenAI's API over one LLM.

It uses `LLM` and `Session` only; how steps of several requests share the engine is theirs.
"""
