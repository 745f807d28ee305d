"""Turning a loaded model into tokens: sessions, batches of their steps, memory and threads."""
