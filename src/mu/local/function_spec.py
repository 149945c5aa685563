"""A function's settings for the executor, and the environment of its workers."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FunctionSpec:
    """`code` is the zip archive, `timeout` in seconds, the sizes in MB."""

    name: str
    handler: str
    code: bytes = field(repr=False)
    code_sha256: str
    timeout: float = 3
    memory_mb: int = 128
    tmp_mb: int = 512
    version: str = "$LATEST"
    arn: str = ""
    region: str = "us-east-1"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def server_key(self) -> tuple[object, ...]:
        """Returns a key; invocations with the same key can be forked from the same server."""
        sizes = (self.memory_mb, self.tmp_mb)
        variables = sorted(self.environment.items())
        return (self.name, self.version, self.region, self.handler, self.code_sha256, *sizes, *variables)

    def lambda_environment(self, package: str) -> dict[str, str]:
        """Returns all variables that Lambda sets, except for the log stream and LD_LIBRARY_PATH, which the fork
        server adds."""
        return {
            **self.environment,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": self.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "LAMBDA_TASK_ROOT": package,
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "TZ": ":UTC",
            "_HANDLER": self.handler,
        }
