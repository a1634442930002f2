"""Steps that move files: uploads, and downloads to a place that is given up again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcore.profile import MOMENT_NAMES, Phases
from ftnet.download import DownloadTask
from ftnet.plan import template as templates
from ftnet.plan.answers import Answer
from ftnet.plan.jar import keep_cookies, with_cookie
from ftnet.plan.model import Download, Upload
from ftnet.plan.urls import whole_url
from ftnet.plan.work import Work, prepare
from ftnet.results import Headers
from ftnet.upload import UploadTask
from ftnet.url import prepare_url

if TYPE_CHECKING:
    from ftcore.buffers import Chunk
    from ftcore.visitor import User
    from ftnet.plan.share import Workshop

__all__ = ["DownloadWork", "UploadWork"]

_REDIRECTED = MOMENT_NAMES.index("redirect_start")


class _Moved:
    """Mixed into a task of the ft API: its end is told to the user whose step it is."""

    if not TYPE_CHECKING:
        __slots__ = ()

    _user: User
    _work: Work
    _due: int
    _url: str

    def _keep_cookies(self, raw: bytes, phases: Phases) -> None:
        """Those of an answer from where the step went; a redirect's are nobody's here."""
        if not phases.at(_REDIRECTED):
            keep_cookies(self._user, self._url, Headers(raw))

    def _failed(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> None:
        self._user.failed(self._work, outcome, os_errno, detail, phases, self._due)


class _Uploading(_Moved, UploadTask):
    __slots__ = ("_due", "_url", "_user", "_work")

    def _succeeded(
        self, status: int, raw: bytes, body: Chunk | None, phases: Phases | None, charset: bool
    ) -> None:
        assert phases is not None
        self._keep_cookies(raw, phases)
        self._user.answered(self._work, Answer(status, raw, body, charset), phases, self._due)


class _Downloading(_Moved, DownloadTask):
    __slots__ = ("_due", "_url", "_user", "_work")

    def _failed(self, outcome: int, phases: Phases | None, os_errno: int, detail: str) -> None:
        assert self.part is not None
        self.part.discard()
        super()._failed(outcome, phases, os_errno, detail)

    def _succeeded(
        self, status: int, raw: bytes, body: Chunk | None, phases: Phases | None, charset: bool
    ) -> None:
        assert phases is not None
        assert self.part is not None
        self._keep_cookies(raw, phases)
        file = _File(self.context[1].target, self.part.length)
        try:
            self.part.publish(file.path, False)
            self._user.answered(self._work, Answer(status, raw, file, charset), phases, self._due)
        except OSError as error:
            self._failed(-15, phases, error.errno or 0, os.fsdecode(file.path))
        finally:
            file.remove()


class _File:
    """What was downloaded, as the body of an answer: read only where something looks into it."""

    def __init__(self, path: bytes, length: int) -> None:
        self.path = path
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return Path(os.fsdecode(self.path)).read_bytes()

    def remove(self) -> None:
        Path(os.fsdecode(self.path)).unlink(missing_ok=True)


class _FileWork(Work):
    __slots__ = ("_client", "_header", "_shop", "_timeout", "_url")

    def __init__(self, step: Upload | Download, url: str, name: str, shop: Workshop) -> None:
        prepare(self, step, name)
        self._shop = shop
        self._client = shop.client()
        self._url = templates.compile(whole_url(shop.plan.base_url, url))
        header = shop.plan.header_with(step.header)
        self._header = {key: templates.compile(text) for key, text in header.items()}
        self._timeout = shop.timeout(step) * 1000.0

    def _asked(self, user: User, task: _Moved, due: int) -> dict[str, Any]:
        url = prepare_url(self._url.render(user.variables), self.name)
        task._user, task._work, task._due, task._url = user, self, due, url
        header = {key: one.render(user.variables) for key, one in self._header.items()}
        if user.jar:
            header = with_cookie(header, user.jar.header(url))
        return {"url": url, "header": header or None, "timeout": self._timeout}


class UploadWork(_FileWork):
    """A file as a form sends it."""

    __slots__ = ("_field", "_form", "_path")

    def __init__(self, step: Upload, name: str, shop: Workshop) -> None:
        super().__init__(step, step.upload, name, shop)
        for field in [one for one in self._header if one.lower() == "content-type"]:
            if field not in step.header:  # the plan's, which is not of a form
                del self._header[field]
        self._path = os.fspath(shop.path(step.file))
        self._field = step.field
        self._form = templates.compile_value(dict(step.form))

    def begin(self, user: User, due: int) -> None:
        from ftnet.upload import upload

        task = _Uploading()
        form = self._form.render(user.variables)
        given = {**self._asked(user, task, due), "filePath": self._path, "name": self._field}
        user.under_way = task
        upload(self._client, None, {**given, "formData": form or None}, task)


class DownloadWork(_FileWork):
    """A file to a temporary place."""

    __slots__ = ("_folder",)

    def __init__(self, step: Download, name: str, shop: Workshop) -> None:
        super().__init__(step, step.download, name, shop)
        self._folder = shop.folder

    def begin(self, user: User, due: int) -> None:
        from ftnet.download import download

        task = _Downloading()
        asked = self._asked(user, task, due)
        handle, path = tempfile.mkstemp(prefix="ftnet-", dir=self._folder())
        os.close(handle)
        user.under_way = task
        download(self._client, None, {**asked, "filePath": path}, task)
