"""The files that a run needs, for processes of a cluster, which have not got them.

`pack` reads them and gives each a name of its own, by which options and plan then call them;
`unpack` writes them to a folder there, and `settled` are the options for that folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from ftnet.load.options import Options

if TYPE_CHECKING:
    from ftnet.plan.model import Plan, Scenario, Step

__all__ = ["Files", "pack", "settled", "unpack"]

#: Their names in a folder, and what is in them.
Files: TypeAlias = Mapping[str, bytes]

#: Settings of a Client that are paths.
_PATHS: Final = ("ca", "cert", "key")


class _Packer:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._names: dict[str, str] = {}

    def take(self, path: str | os.PathLike[str], folder: str = "") -> str:
        """The name of a file from now on. OSError: it can't be read."""
        whole = os.path.join(folder, path)
        if whole not in self._names:
            name = f"{len(self._names)}/{Path(whole).name}"
            self.files[name] = Path(whole).read_bytes()
            self._names[whole] = name
        return self._names[whole]

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        paths = {name: self.take(given[name]) for name in _PATHS if given.get(name) is not None}
        return {**given, **paths}

    def plan(self, plan: Plan) -> Plan:
        feeds = {
            name: msgspec.structs.replace(feed, file=self.take(feed.file, plan.folder))
            for name, feed in plan.data.items()
        }
        scenarios = tuple([self._scenario(one, plan.folder) for one in plan.scenario])
        settings = self.settings(plan.settings)
        return msgspec.structs.replace(plan, data=feeds, scenario=scenarios, settings=settings)

    def _scenario(self, scenario: Scenario, folder: str) -> Scenario:
        steps = tuple([self._step(step, folder) for step in scenario.step])
        return msgspec.structs.replace(scenario, step=steps)

    def _step(self, step: Step, folder: str) -> Step:
        from ftnet.plan.model import Http, Python, Upload

        if isinstance(step, Http) and step.body_file is not None:
            return msgspec.structs.replace(step, body_file=self.take(step.body_file, folder))
        if isinstance(step, Upload):
            return msgspec.structs.replace(step, file=self.take(step.file, folder))
        if isinstance(step, Python):
            file, colon, function = step.python.rpartition(":")
            if file.endswith(".py"):
                python = self.take(file, folder) + colon + function
                return msgspec.structs.replace(step, python=python)
        return step


def pack(options: Options) -> tuple[Options, Files]:
    """The same options with other names of files, and the files. OSError: one can't be read."""
    packer = _Packer()
    plan = options.plan
    packed = replace(
        options,
        settings=packer.settings(options.settings),
        plan=None if plan is None else packer.plan(plan),
    )
    return packed, packer.files


def unpack(files: Files, folder: str) -> None:
    """Writes them where their names say. ValueError: that is not inside of the folder."""
    for name, content in files.items():
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise ValueError(f"{name!r} is no name of a file in a folder")
        path = Path(folder, inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def settled(options: Options, folder: str) -> Options:
    """Packed options, for the folder that the files are in."""
    plan = options.plan
    if plan is not None:
        settings = _settings(plan.settings, folder)
        plan = msgspec.structs.replace(plan, folder=folder, settings=settings)
    return replace(options, settings=_settings(options.settings, folder), plan=plan)


def _settings(given: Mapping[str, Any], folder: str) -> dict[str, Any]:
    return {
        name: os.path.join(folder, value) if name in _PATHS and value is not None else value
        for name, value in given.items()
    }
