"""A job runs, and its caller is woken, over Redis with TLS, over sentinels through a failover, and
over RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_shim.job_waiters import JobWaiters
from infra.cli.check_broker import check_broker
from pipeline.config.settings import Settings
from pipeline.deployment.findings import Verdict
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.jobs.model import JobState
from tests.authority import Authority
from tests.brokers import MASTER, RabbitMq, TlsRedis, sentinel_group
from tests.cluster import Cluster, open_cluster
from tests.servers import RedisServer
from workers.connection import open_redis
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier
from workers.redis_url import kombu_options, kombu_url, parse_sentinel


def bad(settings: Settings) -> list[str]:
    return [
        check.found + check.advice for check in check_broker(settings)
        if check.verdict is Verdict.BAD
    ]


def wakes(settings: Settings) -> Callable[[], bool]:
    """Whether the shim's subscription hears what a worker announces; asks again each time."""

    async def nothing(_: object) -> set[str]:
        return set()

    async def heard() -> bool:
        waiters = JobWaiters(settings, nothing)
        notifier = JobNotifier(settings)
        listening = asyncio.create_task(waiters._listen_forever())
        try:
            with waiters.watch("job-1") as ended:
                for _ in range(50):
                    if waiters.connected:
                        await asyncio.to_thread(notifier.publish, "job-1")
                    try:
                        await asyncio.wait_for(ended.wait(), 0.1)
                    except TimeoutError:
                        continue
                    return True
            return False
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await asyncio.sleep(0.2)  # the transport closes
            notifier.close()

    return lambda: asyncio.run(heard())


def run_a_job(cluster: Cluster, picture: bytes) -> None:
    job = cluster.wait([cluster.submit("locate", picture)])[0]
    assert job.state is JobState.DONE, cluster.logs()


@pytest.fixture
def picture(tiny_pictures: list[bytes]) -> bytes:
    return tiny_pictures[0]


def test_redis_with_tls(
    tmp_path: Path, edge_models: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with TlsRedis(authority) as redis:
        settings = Settings(broker_url=redis.url)
        assert "SSL_CERT_FILE" in bad(settings)[0]
        with pytest.raises(BrokerUnavailable):
            Dispatcher(settings).depth("decode")
        # Another number: kombu's pools of connections do not tell servers apart by TLS.
        named = Settings(broker_url=f"{redis.url[:-1]}1?ssl_ca_certs={authority.file}")
        assert bad(named) == []
        dispatcher = Dispatcher(named)
        assert dispatcher.depth("decode") == 0
        dispatcher.close()

        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert bad(settings) == []
        assert wakes(settings)()
        with (
            open_cluster(tmp_path, redis.url, edge_models) as cluster,
            cluster.worker(concurrency=1),
        ):
            run_a_job(cluster, picture)


def test_sentinels_through_a_failover(
    tmp_path: Path, edge_models: Path, picture: bytes
) -> None:
    with sentinel_group() as (primary, sentinel):
        settings = Settings(broker_url=sentinel.url)
        assert bad(settings) == []
        assert wakes(settings)()
        with (
            open_cluster(tmp_path, sentinel.url, edge_models) as cluster,
            cluster.worker(concurrency=1), cluster.upkeep(),
        ):
            run_a_job(cluster, picture)
            primary.kill()
            # Accepted meanwhile; upkeep sends its message to the new primary.
            run_a_job(cluster, picture)
            assert wakes(settings)()


@pytest.fixture
def rabbit() -> Iterator[RabbitMq]:
    with RabbitMq() as rabbit:
        yield rabbit


def test_rabbitmq(
    tmp_path: Path, edge_models: Path, picture: bytes, rabbit: RabbitMq, redis_server: RedisServer
) -> None:
    settings = Settings(broker_url=rabbit.url, redis_url=redis_server.url)
    assert bad(settings) == []
    wrong = Settings(
        broker_url=rabbit.url.replace("guest@", "wrong@"), redis_url=redis_server.url
    )
    assert any("FACELINE_BROKER_URL" in said for said in bad(wrong))
    with (
        open_cluster(tmp_path, rabbit.url, edge_models, redis_url=redis_server.url) as cluster,
        cluster.worker(stages="decode", concurrency=1),
        cluster.worker(stages="detect,embed,liveness", concurrency=1),
        cluster.upkeep(),
    ):
        run_a_job(cluster, picture)
        # A message that nobody has taken survives, and one that is lost is sent again.
        job = cluster.wait([cluster.submit("locate", picture, ring=False)])[0]
        assert job.state is JobState.DONE
        assert cluster.dispatcher.depth("decode") == 0


def test_urls_of_sentinels() -> None:
    found = parse_sentinel(
        "sentinels://me:p%40ss@a.example,b.example:26380/3?master=faces&sentinel_password=other"
        "&ssl_ca_certs=/ca.pem"
    )
    assert found.hosts == (("a.example", 26379), ("b.example", 26380))
    assert found.options == {
        "username": "me", "password": "p@ss", "db": 3, "ssl": True, "ssl_ca_certs": "/ca.pem",
    }
    assert found.sentinel_options == {
        "password": "other", "ssl": True, "ssl_ca_certs": "/ca.pem"
    }
    assert "p@ss" not in repr(found)
    url = "sentinel://:p%40ss@a.example,b.example:26380/3?master=faces"
    assert kombu_url(url) == (
        "sentinel://:p%40ss@a.example:26379/3;sentinel://:p%40ss@b.example:26380/3"
    )
    assert kombu_options(url)["master_name"] == MASTER


@pytest.mark.parametrize(
    "url",
    ["sentinel://:geheim@a.example:26379/0", "sentinel://:geheim@a.example:x/0?master=m",
     "sentinel://:geheim@/0?master=m", "sentinel://:geheim@a.example/x?master=m"],
)
def test_urls_of_sentinels_that_are_none(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_redis(url, 1.0)
    assert "geheim" not in caught.value.message
