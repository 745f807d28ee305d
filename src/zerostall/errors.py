"""Typed errors: each message names the cause and what to do about it."""

from __future__ import annotations


class ZerostallError(Exception):
    """Base of every error that zerostall raises on purpose."""


class ModelFormatError(ZerostallError):
    """The model file breaks its format: truncated, corrupt or hostile."""


class UnsupportedModelError(ZerostallError):
    """The file is valid, but its architecture, format or tokenizer is not supported."""


class ModelNotFoundError(ZerostallError):
    """The path or reference names no model that can be read."""


class OutOfBudgetError(ZerostallError):
    """The model does not fit the RAM budget; the message names the smallest that works."""


class StorageError(ZerostallError):
    """The operating system refused or failed a read or a write."""


class InvalidRequestError(ZerostallError, ValueError):
    """An argument is outside what the call accepts."""


class ContextLengthError(InvalidRequestError):
    """The prompt does not fit the context."""


class ClosedError(ZerostallError):
    """The object was closed before the call."""


class CancelledError(ZerostallError):
    """Another thread ended the step; everything is as before it."""


class StateFileError(ZerostallError):
    """A saved state is cut, damaged, of another version or of another model."""


class InternalError(ZerostallError):
    """A fault of zerostall itself; please report it."""
