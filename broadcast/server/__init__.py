"""The server: warnings, what providers tell us and confirmations come in; pages, figures and health go out."""

from .app import make_app, serve

__all__ = ["make_app", "serve"]
