"""The server: provider callbacks in, kept before they are answered."""

from .app import make_app, serve

__all__ = ["make_app", "serve"]
