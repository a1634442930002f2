
import ftnet as ft
from tests.servers.awkward import *
from tests.servers.behaviours import *
from tests.test_lifecycle_abort import begin


def test_dropped():
    with AwkwardServer(BEHAVIOURS["silent"]) as server:
        task, history = begin(ft.Client(), server.url, timeout=8000)
        server.wait_for_bytes(1)
        assert False
def test_aborted():
    with AwkwardServer(BEHAVIOURS["silent"]) as server, ft.Client() as client:
        task, history = begin(client, server.url.replace("http","https"), timeout=8000)
        server.wait_for_bytes(1)
        task.abort(); history.wait()
        assert False
def test_paused():
    with AwkwardServer(BEHAVIOURS["body_for_ever"]) as server:
        client=ft.Client()
        task, history = begin(client, server.url, enableChunked=True, timeout=8000)
        ev=threading.Event()
        task.onChunkReceived(lambda _: (task.pause(), ev.set()))
        ev.wait(10)
        assert False
def test_paused_done():
    with AwkwardServer(BEHAVIOURS["slices_of_64_bytes"]) as server:
        client=ft.Client()
        task, history = begin(client, server.url, enableChunked=True, timeout=8000)
        ev=threading.Event()
        task.onChunkReceived(lambda _: (task.pause(), ev.set()))
        ev.wait(10)
        assert False
