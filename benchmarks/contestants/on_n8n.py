"""n8n: a webhook, then HTTP Request nodes; imported and published with its command line, on SQLite."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.contestants.contestant import Contestant, Running, Work, run, start
from benchmarks.contestants.environments import NODE, node_environment
from benchmarks.load import Target
from benchmarks.processes import Tree
from tests.platform_process import free_port

VERSION = "2.41.1"
OFF = (
    "N8N_DIAGNOSTICS_ENABLED",
    "N8N_VERSION_NOTIFICATIONS_ENABLED",
    "N8N_TEMPLATES_ENABLED",
    "N8N_PERSONALIZATION_ENABLED",
    "N8N_HIRING_BANNER_ENABLED",
    "N8N_LICENSE_AUTO_RENEW_ENABLED",
    "N8N_COMMUNITY_PACKAGES_ENABLED",
    "N8N_DYNAMIC_BANNERS_ENABLED",
)
"""What would call home, or fetch something. https://docs.n8n.io/hosting/configuration/environment-variables/"""


class OnN8n(Contestant):
    key, title, version, store = "n8n", "n8n", VERSION, "SQLite"

    def prepare(self, home: Path, receiver: str) -> None:
        project = node_environment("n8n", f"n8n@{VERSION}", built=["sqlite3"])
        node = project / "node_modules" / NODE.partition("@")[0] / "bin"
        self._argv = [str(node / "node"), str(project / "node_modules" / "n8n" / "bin" / "n8n")]
        home.mkdir(parents=True)
        self._home = home
        self._environment = dict.fromkeys(OFF, "false") | {
            "PATH": f"{node}{os.pathsep}{os.environ['PATH']}",
            "N8N_USER_FOLDER": str(home),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_ENCRYPTION_KEY": "benchmark",
            "EXTERNAL_FRONTEND_HOOKS_URLS": "",
            "N8N_DISABLED_MODULES": "mcp-registry",  # asks n8n's site for news
            "DB_TYPE": "sqlite",
        }
        (home / "workflows.json").write_text(json.dumps([workflow(work, receiver) for work in Work]))
        log = home / "log"
        run([*self._argv, "import:workflow", f"--input={home / 'workflows.json'}"], log, env=self._environment)
        for work in Work:
            run([*self._argv, "publish:workflow", f"--id={work}"], log, env=self._environment)

    def start(self) -> Running:
        port = free_port()
        ports = {"N8N_PORT": str(port), "N8N_RUNNERS_BROKER_PORT": str(free_port())}
        process = start([*self._argv, "start"], self._home / "log", env=self._environment | ports)
        targets = {work: Target(port, f"/webhook/{work}", says="Workflow was started") for work in Work}
        return Running(Tree([process.pid], part), targets, [process])


def part(command: Sequence[str]) -> str:
    """What a process is, by its command line."""
    return "task runner" if any("task-runner" in word for word in command) else "n8n"


def workflow(work: Work, receiver: str) -> dict[str, Any]:
    """What n8n imports."""
    hook = {
        "id": "hook",
        "name": "Webhook",
        "type": "n8n-nodes-base.webhook",
        "typeVersion": 2,
        "position": [0, 0],
        "webhookId": str(work),
        "parameters": {
            "httpMethod": "POST",
            "path": str(work),
            "responseMode": "lastNode" if work is Work.ANSWER else "onReceived",
        },
    }
    posts = [_post(n, f"{receiver}/{work}/{n}") for n in range(1, work.steps + 1)]
    names = [str(node["name"]) for node in (hook, *posts)]
    connections = {name: {"main": [[{"node": after, "type": "main", "index": 0}]]} for name, after in pairwise(names)}
    return {
        "id": str(work),
        "name": str(work),
        "active": False,
        "nodes": [hook, *posts],
        "connections": connections,
        "settings": {"executionOrder": "v1"},
    }


def _post(n: int, url: str) -> dict[str, Any]:
    return {
        "id": f"post-{n}",
        "name": f"Post {n}",
        "type": "n8n-nodes-base.httpRequest",
        "typeVersion": 4.2,
        "position": [n * 200, 0],
        "parameters": {
            "method": "POST",
            "url": url,
            "sendBody": True,
            "specifyBody": "json",
            "jsonBody": "={{ JSON.stringify({n: $('Webhook').item.json.body.n}) }}",
            "options": {},
        },
    }
