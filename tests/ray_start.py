"""`ray start` for a machine that is busy: Ray itself gives a raylet and its agents 30 s, written down in its code.

Run as a program with the words of `ray start`, all four ports of the node's agents among them.
"""

from __future__ import annotations

import time
from pathlib import Path

from ray import _raylet
from ray._private import services
from ray._private.node import Node
from ray.scripts.scripts import main

PATIENCE_S = 300
PORTS = {
    _raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME: "dashboard_agent_listen_port",
    _raylet.METRICS_AGENT_PORT_NAME: "metrics_agent_port",
    _raylet.METRICS_EXPORT_PORT_NAME: "metrics_export_port",
    _raylet.RUNTIME_ENV_AGENT_PORT_NAME: "runtime_env_agent_port",
}
look_once, begin = services.get_node, Node.start_ray_processes


def look(*where: object) -> object:
    """The node's own entry, once its raylet has made it."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return look_once(*where)
        except RuntimeError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def begin_known(node: Node) -> None:
    """The raylet waits for files in which its agents name their ports; those that were asked for are known before.

    Working directories of jobs lie in a folder of the session, which two nodes of one machine share: whichever lays one out
    removes what the other laid there, under the feet of the job that runs in it. Here each has its own, as machines have.
    """
    node._runtime_env_dir = f"{node._runtime_env_dir}/{node._node_id[:8]}"
    Path(node._runtime_env_dir).mkdir(parents=True)
    for name, port in PORTS.items():
        _raylet.persist_port(node._session_dir, node._node_id, name, getattr(node._ray_params, port))
    begin(node)


if __name__ == "__main__":
    services.get_node, Node.start_ray_processes = look, begin_known
    main()
