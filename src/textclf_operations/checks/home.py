"""Checks the home directory: space, writing, and locks that hold."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from textclf.config.home import Home
from textclf.language import _
from textclf_operations.findings import Finding

LITTLE_SPACE_BYTES, HARDLY_ANY_SPACE_BYTES = 10e9, 2e9
"""A training of bert-base-chinese needs about 4 GB for checkpoints, and each registered version 0.4 GB."""
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "glusterfs", "ceph", "lustre")


def check_home(home: Home) -> list[Finding]:
    """Writes and locks a temporary file in the home."""
    return [_writing(home), about_space(home.root), _file_system(home)]


def _writing(home: Home) -> Finding:
    key = "home"
    try:
        with tempfile.NamedTemporaryFile(dir=home.root, prefix=".doctor.") as file:
            file.write(b"textclf")
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            with Path(file.name).open("rb") as second:
                try:
                    fcntl.flock(second.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return Finding(
                        key=key, level="ok", text=_("{folder}: writing and locking work.").format(folder=home.root)
                    )
    except OSError as error:
        return Finding(
            key=key,
            level="problem",
            text=_("{folder}: writing or locking a file fails: {reason}.").format(
                folder=home.root, reason=error.strerror
            ),
            advice=_("Set TEXTCLF_HOME to a folder on a disk of this machine to which you may write."),
        )
    return Finding(
        key=key,
        level="problem",
        text=_("{folder}: locks have no effect there, so two runs could spoil each other's work.").format(
            folder=home.root
        ),
        advice=_("Set TEXTCLF_HOME to a folder on a disk of this machine."),
    )


def about_space(folder: Path) -> Finding:
    """Says how much space is free, which is a problem below 2 GB and worth a warning below 10 GB."""
    usage = shutil.disk_usage(folder)
    text = _("{free:,.1f} of {total:,.1f} GB are free on the disk of the home.").format(
        free=usage.free / 1e9, total=usage.total / 1e9
    )
    if usage.free >= LITTLE_SPACE_BYTES:
        return Finding(key="disk", level="ok", text=text)
    return Finding(
        key="disk",
        level="problem" if usage.free < HARDLY_ANY_SPACE_BYTES else "warning",
        text=text,
        advice=_('A training needs about 4 GB. docs/operations.md, "Disk full", says what may be deleted.'),
    )


def _file_system(home: Home) -> Finding:
    mounts = [one for one in psutil.disk_partitions(all=True) if home.root.is_relative_to(one.mountpoint)]
    if not mounts:
        return Finding(key="file-system", level="ok", text=_("The kind of its file system is unknown."))
    kind = max(mounts, key=lambda one: len(one.mountpoint)).fstype
    if not kind.startswith(_NETWORK):
        return Finding(key="file-system", level="ok", text=_("Its file system is {kind}.").format(kind=kind))
    return Finding(
        key="file-system",
        level="warning",
        text=_(
            "It is on a network file system ({kind}): SQLite may be damaged there, and locks hold on one machine only."
        ).format(kind=kind),
        advice=_("Set TEXTCLF_HOME to a folder on a disk of this machine."),
    )
