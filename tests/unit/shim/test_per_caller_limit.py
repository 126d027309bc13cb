"""One caller does not occupy all the threads."""

from __future__ import annotations

import asyncio

from api_shim.intake import PerCallerLimit, claimed_caller
from api_shim.requests import Call


def call(query: str = "", host: str = "192.0.2.1", **headers: str) -> Call:
    return Call("POST", "/", query, headers, b"", "request", client_host=host)


def test_a_caller_is_named_by_its_claim_or_its_address() -> None:
    assert claimed_caller(call(**{"x-api-key": "0123456789abcdef"})) == "key 0123456789ab"
    assert claimed_caller(call("api_id=x&api_secret=y"), "api_id") == "api_id x"
    assert claimed_caller(call("api_id=x&api_secret=y"), "Apid") == "at 192.0.2.1"
    assert claimed_caller(call()) == "at 192.0.2.1"
    assert claimed_caller(call("&".join("a=b" for _ in range(101))), "a") == "at 192.0.2.1"
    assert claimed_caller(call(host="")) == ""


def test_each_caller_has_its_limit_and_leaves_no_trace() -> None:
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
