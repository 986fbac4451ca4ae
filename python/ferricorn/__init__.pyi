from collections.abc import Callable
from typing import Any

from .app.base import BaseApplication as Application
from ._watchdog import RequestTimeout as RequestTimeout
from .simple_server import make_server as make_server

__version__: str

def extend_deadline(seconds: float) -> bool: ...
def serve(app: Callable[..., Any] | str, **settings: Any) -> int: ...
