"""One caller does not take all the threads."""

from __future__ import annotations

import asyncio
from typing import Any

from api_shim.per_caller_limit import PerCallerLimit, claimed_caller
from api_shim.requests import Call

SCOPE: dict[str, Any] = {"client": ("192.0.2.1", 4711)}


def call(query: str = "", **headers: str) -> Call:
    return Call("POST", "/", query, headers, b"", "request")


def test_a_caller_is_who_he_says_or_where_he_comes_from() -> None:
    assert claimed_caller(call(**{"x-api-key": "0123456789abcdef"}), SCOPE) == "key 0123456789ab"
    assert claimed_caller(call("api_id=x&api_secret=y"), SCOPE) == "api_id x"
    assert claimed_caller(call("Kvalue=y&Apid=7"), SCOPE) == "Apid 7"
    assert claimed_caller(call(), SCOPE) == "at 192.0.2.1"
    assert claimed_caller(call("&".join("a=b" for _ in range(101))), SCOPE) == "at 192.0.2.1"
    assert claimed_caller(call(), {"client": None}) == ""


def test_each_has_his_share_and_leaves_no_trace() -> None:
    async def run() -> None:
        shares, running, most = PerCallerLimit(2), dict.fromkeys("ab", 0), dict.fromkeys("ab", 0)

        async def request(caller: str) -> None:
            async with shares.slot(caller):
                running[caller] += 1
                most[caller] = max(most[caller], running[caller])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                running[caller] -= 1

        await asyncio.gather(*(request("a" if n % 5 else "b") for n in range(50)))
        assert most == {"a": 2, "b": 2}
        assert not list(shares._callers)

    asyncio.run(run())


def test_a_caller_who_waits_does_not_stop_another() -> None:
    async def run() -> None:
        shares, done = PerCallerLimit(1), asyncio.Event()

        async def hold() -> None:
            async with shares.slot("a"):
                await done.wait()

        holders = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        async with shares.slot("b"):
            done.set()
        await asyncio.gather(*holders)

    asyncio.run(run())
