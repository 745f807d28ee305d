"""Turning a loaded model into tokens: sessions, turns on the core, memory and threads."""
