"""The contenders of bench/launch.py, each run in a process of its own that imports nothing it does not need.

usage: launch_contenders.py NAME URL CA_BUNDLE COUNT CONNECTIONS [TOKEN_SIZE]
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

FUNCTION = "png2y4m"
REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDBENCHMARK", "AWS_SECRET_ACCESS_KEY": "no-secret-at-all"}
TOKEN = "AWS_SESSION_TOKEN"  # in the environment, where boto3 and aiobotocore find it
AT_ONCE = 64  # requests at a time of the others


def payload(number: object) -> str:
    """Returns an event of 2.9 KB, as a coordinator sends it."""
    pem = "MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ" * 14
    event = {"mode": 1, "port": 13579, "addr": "10.0.0.1", "cacert": pem, "srvcrt": pem, "srvkey": pem}
    return json.dumps({"id": "NUMBER", **event}).replace('"NUMBER"', str(number))


def ours(url: str, ca: str, count: int, connections: int | None) -> int:
    """Runs launchpar; all of its time counts, including reading the certificates."""
    from mu.launch import launchpar

    keys = KEYS.values()
    result = launchpar(
        count, FUNCTION, *keys, payload("##ID##"), [REGION],
        session_token=os.environ.get(TOKEN), endpoint_url=url, ca_bundle=ca, max_connections=connections,
    )  # fmt: skip
    return result.accepted


def with_boto3(url: str, ca: str, count: int, _connections: int | None) -> int:
    """Runs boto3's client in a pool of threads; making the client does not count."""
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=AT_ONCE)
    client = boto3.client("lambda", region_name=REGION, endpoint_url=url, verify=ca, config=config)
    START[0] = time.perf_counter()

    def invoke(number: int) -> bool:
        answer = client.invoke(FunctionName=FUNCTION, InvocationType="Event", Payload=payload(number))
        return bool(answer["StatusCode"] == 202)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(invoke, range(count)))


def with_aiobotocore(url: str, ca: str, count: int, _connections: int | None) -> int:
    """Runs aiobotocore's client, AT_ONCE at a time; making the client does not count."""
    import asyncio

    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    async def launch() -> int:
        config = AioConfig(max_pool_connections=AT_ONCE)
        maker = get_session().create_client(
            "lambda", region_name=REGION, endpoint_url=url, verify=ca, config=config
        )
        async with maker as client:
            START[0] = time.perf_counter()
            gate = asyncio.Semaphore(AT_ONCE)

            async def invoke(number: int) -> bool:
                async with gate:
                    answer = await client.invoke(
                        FunctionName=FUNCTION, InvocationType="Event", Payload=payload(number)
                    )
                    return bool(answer["StatusCode"] == 202)

            return sum(await asyncio.gather(*map(invoke, range(count))))

    return asyncio.run(launch())


START = [0.0]  # when the contender's time begins
CONTENDERS = {"ours": ours, "boto3": with_boto3, "aiobotocore": with_aiobotocore}


def contend(name: str, url: str, ca: str, count: int, connections: int, token_size: int = 0) -> None:
    """Runs one contender in this process and prints its time."""
    if name == "ours":
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
        import mu.launch  # noqa: F401  # a program's start is not what is compared
    os.environ.update(KEYS)
    os.environ.pop(TOKEN, None)
    if token_size:
        os.environ[TOKEN] = "T" * token_size
    START[0] = time.perf_counter()
    accepted = CONTENDERS[name](url, ca, count, connections or None)
    seconds = time.perf_counter() - START[0]
    cpu = time.process_time()
    assert accepted == count, f"{accepted} of {count} accepted"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rate": count / seconds, "seconds": seconds, "cpu": cpu, "peak": peak}))


if __name__ == "__main__":
    name, url, ca, *numbers = sys.argv[1:]
    contend(name, url, ca, *map(int, numbers))
