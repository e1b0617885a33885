"""Nobody but its owner can read what a platform keeps."""

from __future__ import annotations

import stat

from platform_process import Platform, Sink


def test_every_file_of_a_running_platform_is_for_its_owner_only(platform: Platform, sink: Sink) -> None:
    """All that it writes: databases and their logs, keys, tokens, addresses, what Prefect keeps."""
    secret = '{"secret": "s3cret-1"}'
    assert platform.ipaas("credentials", "set", "private", "--type", "webhook-secret", stdin=secret).returncode == 0
    assert platform.ipaas("executions").returncode == 0

    written = [path for path in platform.home.rglob("*") if path.is_file() and not path.is_symlink()]

    names = {path.name for path in written}
    assert {"ipaas.db", "prefect.db", "addresses.json", "api-token", "encryption-keys"} <= names
    open_to_others = {
        str(path.relative_to(platform.home)): stat.filemode(path.stat().st_mode)
        for path in written
        if path.stat().st_mode & 0o077
    }
    assert open_to_others == {}
    assert platform.home.stat().st_mode & 0o777 == 0o700
