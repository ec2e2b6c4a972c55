"""From a dotted name to the class or function: beside the experiment file first, then in installed packages.

Recipes have modules of the same short names (``trainer.py``, ``model.py``), which import each other by these names and
must be found by data-loader workers too. So the folders of one recipe at a time are on ``sys.path``, with its modules
in ``sys.modules``. The modules of the others are kept aside, and come back when something of theirs is looked up again.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.config.problems import suggestion
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType

Folders = tuple[Path, ...]


def locate(path: str, search_dirs: Sequence[str | Path] = ()) -> Any:
    """The class, function or other object with a dotted name.

    The first part of the name is looked up as a module or package in ``search_dirs``, in their order, and then in the
    installed packages. Modules are imported, so this runs their code. ``search_dirs`` come first on ``sys.path`` until
    something is looked up in other folders; modules of the same names that those gave are put aside meanwhile.

    Args:
        path: such as ``"model.Model"`` or ``"torch.optim.Adam"``.
        search_dirs: folders that hold modules.

    Raises:
        RequestError: the name is no dotted name, nothing is found by it (with what is near), or the import of a module
            fails (with file and line).

    >>> locate("math.gcd")(12, 18)
    6
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise RequestError(f"{path!r} is not a dotted name such as 'model.Model'")
    folders = tuple(Path(folder).resolve() for folder in search_dirs)
    if folders:
        _recipes.enter(folders, parts[0])
    return _descend(parts, folders)


def explain(error: BaseException, folders: Iterable[Path] = ()) -> str:
    """One line about an exception of somebody else's code: type, text, file and line."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(Path(f.filename).is_relative_to(dir_) for dir_ in folders)]
    where = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in (own or frames)[-1:])
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


def _descend(parts: list[str], folders: Folders) -> Any:
    """Import the longest prefix that is a module, then follow attributes."""
    module, rest = _import_longest(parts[:-1], folders)
    if module is None:
        raise RequestError(_not_found(parts[0], folders))
    found: Any = module
    name = module.__name__
    for attribute in parts[len(parts) - rest - 1 :]:
        if not hasattr(found, attribute):
            raise RequestError(_no_attribute(found, name, attribute))
        found, name = getattr(found, attribute), f"{name}.{attribute}"
    return found


def _import_longest(parts: list[str], folders: Folders) -> tuple[ModuleType | None, int]:
    """The module, and how many of ``parts`` are left over."""
    for length in range(len(parts), 0, -1):
        module = _import(".".join(parts[:length]), folders)
        if module is not None:
            return module, len(parts) - length
    return None, len(parts)


def _import(name: str, folders: Folders) -> ModuleType | None:
    """Import a module; None where there is none of this name."""
    if name not in sys.modules:
        importlib.invalidate_caches()  # the file may be newer than the last look at its folder
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code may raise anything, SystemExit too
        if isinstance(error, ModuleNotFoundError) and _is_prefix(error.name, name):
            return None
        raise RequestError(f"cannot import {name!r}: {explain(error, folders)}") from error


def _is_prefix(missing: str | None, name: str) -> bool:
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _not_found(name: str, folders: Folders) -> str:
    looked = [str(folder) for folder in folders] + ["the installed packages"]
    local = [info.name for info in pkgutil.iter_modules(map(str, folders))]
    known = {*local, *(info.name for info in pkgutil.iter_modules())}
    near = suggestion(name, known, what="")
    hint = f"; {near}" if near.startswith("did you mean") else ""
    return f"no module {name!r} in {', '.join(looked)}{hint}"


def _no_attribute(owner: Any, name: str, attribute: str) -> str:
    known = {key for key in dir(owner) if not key.startswith("_")}
    known |= {info.name for info in pkgutil.iter_modules(getattr(owner, "__path__", []))}
    kind = "module" if hasattr(owner, "__spec__") else type(owner).__name__
    file = getattr(owner, "__file__", None)
    place = f" ({file})" if file else ""
    near = suggestion(attribute, known, what="it has")
    if not near.startswith("did you mean") and len(known) > 20:
        near = f"it has {len(known)} other names"
    return f"{kind} {name!r}{place} has no {attribute!r}; {near}"


def file_of(name: str, folders: Iterable[Path]) -> Path | None:
    """File that a module or package of this name (``a/b`` for ``a.b``) has in the folders."""
    tails = (f"{name}/__init__.py", f"{name}.py")
    candidates = (folder / tail for folder in folders for tail in tails)
    return next((file for file in candidates if file.is_file()), None)


class _Recipes:
    """Whose modules plain imports find now, and the modules that were put aside."""

    def __init__(self) -> None:
        self._folders: Folders = ()
        self._added: list[str] = []
        self._known: set[str] = set()
        self._foreign: dict[str, ModuleType] = {}
        self._aside: dict[Folders, dict[str, ModuleType]] = {}

    def enter(self, folders: Folders, name: str) -> None:
        """Let imports find the modules of these folders. ``name`` is the module that is wanted."""
        if folders != self._folders:
            self._leave()
            self._folders = folders
            self._make_room()
            self._added = [str(folder) for folder in folders]
            sys.path[:0] = self._added
            sys.modules.update(self._aside.pop(folders, {}))
        self._refuse_hidden(name)

    def _leave(self) -> None:
        if self._folders:
            self._aside[self._folders] = _take(self._owns)
        sys.modules.update(self._foreign)
        for entry in self._added:
            if entry in sys.path:
                sys.path.remove(entry)

    def _make_room(self) -> None:
        """Put aside what has a name that the folders claim, as far as no package relies on it."""
        self._foreign = _take(self._is_in_the_way)
        self._known = set(sys.modules)

    def _owns(self, top: str) -> bool:
        """Whether a loaded module is one of the folders', and was not there before them."""
        return top not in self._known and bool(_homes(top) & set(self._folders))

    def _is_in_the_way(self, top: str) -> bool:
        return self._is_hiding(top) and not _is_installed(top)

    def _is_hiding(self, top: str) -> bool:
        """Whether a loaded module has the name of a file in the folders, and is another one."""
        file = file_of(top, self._folders)
        return file is not None and top in sys.modules and not _homes(top) & set(self._folders)

    def _refuse_hidden(self, top: str) -> None:
        if self._is_hiding(top):
            other = getattr(sys.modules[top], "__file__", None) or "a part of Python"
            raise RequestError(
                f"{file_of(top, self._folders)} has the name of a module that is in use ({other}); rename it"
            )


def _take(is_wanted: Callable[[str], bool]) -> dict[str, ModuleType]:
    """Take modules out of ``sys.modules``, those whose first name is wanted."""
    tops = {top for top in {name.partition(".")[0] for name in sys.modules} if is_wanted(top)}
    taken = {name: mod for name, mod in sys.modules.items() if name.partition(".")[0] in tops}
    for name in taken:
        del sys.modules[name]
    return taken


def _homes(top: str) -> set[Path]:
    """Folders that a loaded module or package was found in."""
    module = sys.modules.get(top)
    places = list(getattr(module, "__path__", [])) or [getattr(module, "__file__", None)]
    return {Path(place).resolve().parent for place in places if place}


def _is_installed(top: str) -> bool:
    """Whether a loaded module belongs to Python, to an installed package or to AudioZEN."""
    if top in sys.stdlib_module_names or top in ("__main__", "__mp_main__", "audiozen"):
        return True
    folders = {
        Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")
    }
    return not _homes(top) or bool(_homes(top) & folders)


_recipes = _Recipes()
