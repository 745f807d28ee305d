"""Anthropic's API over the same model: /v1/messages and the count of its tokens."""
