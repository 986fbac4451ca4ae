"""Settings in Python: `gunicorn.conf.py`, and the `cfg` that hooks and applications see."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, SimpleNamespace
from typing import Any

from . import _core

#: The names under which a settings file is looked for in the working directory.
NAMES = ("ferricorn.conf.py", "gunicorn.conf.py")

#: The module that a settings file is, as in Gunicorn.
MODULE = "__config__"


class ConfigError(Exception):
    """Something is wrong with a settings file. The text names it and the line; the cause has a traceback."""


class File:
    """What a settings file says."""

    def __init__(self, path: str, namespace: Mapping[str, Any], lines: Mapping[str, int]) -> None:
        self.path = path
        self.assignments: list[tuple[str, Any, int | None]] = []
        self.hooks: dict[str, Callable[..., Any]] = {}
        self.warnings: list[str] = []
        names, hooks = set(_core.setting_names()), hook_arguments()
        for name, value in namespace.items():
            line = lines.get(name)
            place = f"{path}:{line}" if line else path
            if name in hooks:
                if value is not None:
                    self.hooks[name] = hook(name, value, place)
            elif name in names:
                self.assignments.append((name, value, line))
            elif line and (meant := misspelt(name, value, names | hooks.keys())):
                self.warnings.append(f"{place}: there is no setting {name}, and it is ignored; did you mean {meant}?")


def named(name: str) -> File | None:
    """Reads the file that `--config` names. `None` if it is TOML."""
    if module_name := name.removeprefix("python:") if name.startswith("python:") else None:
        return read_module(module_name)
    path = name.removeprefix("file:")
    if path.endswith(".toml"):
        return None
    if not os.path.isfile(path):
        raise ConfigError(f"config = {name!r} (--config): there is no such file")
    return read_file(path)


def present() -> File | None:
    """Reads the file that is in the working directory, if one is."""
    for name in NAMES:
        if os.path.isfile(name):
            return read_file(name)
    return None


def read_file(path: str) -> File:
    working_directory_first()
    extension = os.path.splitext(path)[1]
    loader: Any = None
    if extension not in (".py", ".pyc"):
        loader = importlib.machinery.SourceFileLoader(MODULE, path)
    spec = importlib.util.spec_from_file_location(MODULE, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(MODULE)
    sys.modules[MODULE] = module
    lines: dict[str, int] = {}
    try:
        if extension == ".pyc":
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        else:
            # Not by way of the loader: what it keeps is not told from a file of the same size and second.
            code, lines = compiled(path, spec.origin or path)
            exec(code, module.__dict__)
    except BaseException as error:
        restore(MODULE, before)
        raise failed(path, error) from error
    file = File(path, vars(module), lines)
    if extension not in (".py", ".pyc"):
        file.warnings.append(f"{path} is read as Python; a settings file in TOML is named .toml")
    return file


def read_module(name: str) -> File:
    working_directory_first()
    before = sys.modules.pop(name, None)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        restore(name, before)
        raise failed(f"python:{name}", error) from error
    path = getattr(module, "__file__", None) or f"python:{name}"
    try:
        lines = compiled(path, path)[1]
    except (OSError, SyntaxError, ValueError):
        lines = {}
    return File(path if lines else f"python:{name}", vars(module), lines)


def working_directory_first() -> None:
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)


def restore(name: str, module: Any) -> None:
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module


def compiled(path: str, name: str) -> tuple[CodeType, dict[str, int]]:
    """The code, and the line in which each name was given its value last."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), name)
    lines: dict[str, int] = {}
    for node in statements(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            lines[node.name] = node.lineno
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            lines.update({(alias.asname or alias.name): node.lineno for alias in node.names})
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            lines[node.id] = node.lineno
    return compile(tree, name, "exec", dont_inherit=True), lines


def statements(node: ast.AST) -> Iterable[ast.AST]:
    """All nodes of a module's own scope, in the order of the source."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from statements(child)


def failed(path: str, error: BaseException) -> ConfigError:
    """The error, with the line of the file that it comes from."""
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    if isinstance(error, SyntaxError) and error.filename:
        return ConfigError(f"{path}:{error.lineno}: {text}")
    absolute = os.path.abspath(path)
    own = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path or os.path.abspath(frame.filename) == absolute
    ]
    return ConfigError(f"{path}:{own[-1]}: {text}" if own else f"{path}: {text}")


def describe(error: BaseException) -> str:
    """The traceback of what a settings file has raised, less our own part of it."""
    cause = error.__cause__ or error
    frames = cause.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(cause), cause, frames)).rstrip("\n")


def misspelt(name: str, value: Any, names: Iterable[str]) -> str | None:
    """The setting that a name was meant for, if it looks like one that was misspelt."""
    if name.startswith("_") or name != name.lower() or not isinstance(value, (bool, int, float, str, list, tuple)):
        return None
    import difflib

    return next(iter(difflib.get_close_matches(name, names, 1, 0.85)), None)


def hook_arguments() -> dict[str, tuple[tuple[str, ...], int]]:
    """The names of each hook's arguments, and how many it must take at least."""
    return {name: (tuple(arguments), least) for name, arguments, least in _core.hook_names()}


def hook(name: str, value: Any, place: str) -> Callable[..., Any]:
    """A hook, checked, that takes all arguments."""
    arguments, least = hook_arguments()[name]
    numbers = " or ".join(str(number) for number in range(least, len(arguments) + 1))
    wanted = f"a function of {numbers} argument{'' if numbers == '1' else 's'}"
    expected = f"expected {wanted}: {', '.join(arguments)}"
    if isinstance(value, str):
        module_name, _, attribute = value.rpartition(".")
        try:
            value = getattr(importlib.import_module(module_name), attribute)
        except Exception as error:
            raise ConfigError(f"{name} = {value!r} ({place}): {type(error).__name__}: {error}") from error
    if not callable(value):
        raise ConfigError(f"{name} = {value!r} ({place}): {expected}")
    function: Callable[..., Any] = value
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # A function in C that does not say.
        return function
    for number in range(len(arguments), least - 1, -1):
        try:
            signature.bind(*arguments[:number])
        except TypeError:
            continue
        if number == len(arguments):
            return function
        return lambda *given: function(*given[:number])
    raise ConfigError(f"{name} = {getattr(value, '__qualname__', value)} ({place}): {expected}, not {signature}")


#: What `cfg` says of Gunicorn's settings that do not exist here.
DEFAULTS: dict[str, Any] = {
    "logger_class": None,
    "is_ssl": False,
    "ssl_options": {},
    "reuse_port": False,
    "threads": 1,
    "reload": False,
    "reload_engine": "auto",
    "reload_extra_files": [],
    "spew": False,
    "preload_app": False,
    "logconfig_dict": {},
    "dirty_apps": [],
    "dirty_workers": 0,
    "raw_paste_global_conf": [],
    "paste_global_conf": None,
}


class Config:
    """The settings, as attributes under Gunicorn's names."""

    def __init__(self, values: Mapping[str, Any] | None = None, hooks: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = dict(_core.default_settings() if values is None else values)
        self._hooks: dict[str, Any] = dict(hooks or {})
        #: What a program has set, in its order.
        self._given: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._given:
            return self._given[name]
        if name in self._hooks:
            return self._hooks[name]
        if name in self._values:
            return self._values[name]
        if name in DEFAULTS:
            return DEFAULTS[name]
        if name in known_names():
            return None
        raise AttributeError(f"No configuration setting for: {name}")

    def set(self, name: str, value: Any) -> None:
        """Sets a setting; what it may be is checked when the server starts."""
        if name not in known_names():
            raise AttributeError(f"No configuration setting for: {name}")
        self._given[name] = value

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by their names, each with `name`, `value` and `get()`."""

        def setting(name: str) -> Any:
            value = getattr(self, name)
            return SimpleNamespace(name=name, value=value, get=lambda: value)

        return {name: setting(name) for name in sorted(known_names())}

    @property
    def wsgi_app(self) -> str | None:
        return self._given.get("wsgi_app", self._values.get("application"))

    @property
    def worker_class(self) -> str:
        return "sync" if str(self.threads) == "1" else "gthread"

    @property
    def worker_class_str(self) -> str:
        return self.worker_class

    @property
    def proc_name(self) -> str | None:
        return self._given.get("proc_name") or self._values.get("proc_name") or self.wsgi_app

    @property
    def chdir(self) -> str:
        return os.path.abspath(self._given.get("chdir") or self._values.get("chdir") or "")

    @property
    def env(self) -> dict[str, str]:
        pairs = (variable.partition("=") for variable in self.raw_env)
        return {name: value for name, _, value in pairs}

    @property
    def address(self) -> list[Any]:
        """What is listened on: (host, port), or the path of a unix socket."""
        bind = self.bind
        return [address(text) for text in (bind.split(",") if isinstance(bind, str) else bind)]

    @property
    def uid(self) -> int:
        import pwd

        user = self.user
        return os.geteuid() if not user else int(user) if str(user).isdigit() else pwd.getpwnam(user).pw_uid

    @property
    def gid(self) -> int:
        import grp

        group = self.group
        return os.getegid() if not group else int(group) if str(group).isdigit() else grp.getgrnam(group).gr_gid


def address(text: str) -> Any:
    if text.startswith("unix:"):
        return text.removeprefix("unix:").removeprefix("//")
    if text.startswith("fd://"):
        return int(text.removeprefix("fd://"))
    host, separator, port = text.removeprefix("tcp://").rpartition(":")
    if not separator or not port.isdigit():
        host, port = text, "8000"
    return host.strip("[]"), int(port)


def known_names() -> set[str]:
    """The names of all settings and hooks, Gunicorn's that are refused among them."""
    global _known
    if _known is None:
        _known = {*_core.setting_names(), *hook_arguments()}
    return _known


_known: set[str] | None = None
