"""gunicorn's log lines through ours, so that they are JSON and redacted too."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["Logger"]


class Logger:
    """The interface gunicorn asks of a logger class."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log = logging.getLogger("gunicorn.error")
        self.access_log = logging.getLogger("gunicorn.access")
        self.loglevel = logging.INFO

    def setup(self, cfg: Any) -> None:
        """Keep the root logger's handlers."""

    def critical(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log."""
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log."""
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log."""
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log."""
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Drop: gunicorn's debug lines hold request lines."""

    def exception(self, _msg: str, *_args: Any, **kwargs: Any) -> None:
        """Log without the text of the exception; the message may hold the request's URI."""
        self.error_log.error("request handling failed", exc_info=kwargs.get("exc_info", True))

    def log(self, level: int, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log."""
        self.error_log.log(level, msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Drop: the app logs requests itself, by route."""

    def reopen_files(self) -> None:
        """Do nothing: there are no files."""

    def close_on_exec(self) -> None:
        """Do nothing: there are no files."""
