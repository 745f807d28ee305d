"""The NUMA node of the drive that a file lies on."""

from __future__ import annotations

import os

import pytest

from tests.cpu.recorded import machine, write
from zerostall._core import drive_node


@pytest.fixture
def place(tmp_path):
    """Puts a file on a drive of the recorded machine, and asks for its node."""
    root = tmp_path / "root"
    machine(root, "threadripper_2990wx")
    file = tmp_path / "model.gguf"
    file.touch()

    def node(drive: str) -> int | None:
        number = os.stat(file).st_dev
        link = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
        link.unlink(missing_ok=True)
        link.symlink_to((root / "sys/class/block" / drive).resolve())
        return drive_node(str(file), str(root))

    node.root, node.file = root, file
    return node


@pytest.mark.parametrize(
    ("drive", "node"),
    [
        ("nvme0n1", 2),
        ("nvme1n1", 0),
        ("nvme0n1p2", 2),
        ("dm-0", 2),  # an encrypted or logical volume on one drive
        ("md0", None),  # a RAID over two nodes
        ("sda", None),
    ],
)
def test_the_node_is_that_of_the_bus_the_drive_hangs_on(place, drive, node):
    assert place(drive) == node


def test_a_drive_with_several_controllers_has_the_node_they_share(place):
    subsystem = place.root / "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    (subsystem / "nvme2n1").mkdir(parents=True)
    controllers = place.root / "sys/devices/pci0000:40/0000:40:01.1/0000:41:00.0/nvme/nvme0"
    (subsystem / "nvme0").symlink_to(controllers)
    (place.root / "sys/class/block/nvme2n1").symlink_to(subsystem / "nvme2n1")
    assert place("nvme2n1") == 2


def test_a_file_system_without_a_device_number_is_found_by_its_mount(place):
    number = os.stat(place.file).st_dev
    (place.root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}").unlink(missing_ok=True)
    home = place.file.resolve().parent
    write(
        place.root,
        {
            "proc/self/mountinfo": "25 1 8:1 / / rw shared:1 - ext4 /dev/nvme1n1 rw\n"
            f"36 25 0:31 /@ {home} rw - btrfs /dev/nvme0n1p2 rw,subvol=/@\n"
            f"37 25 0:32 / {home}-other rw - btrfs /dev/nvme1n1 rw"
        },
    )
    assert drive_node(str(place.file), str(place.root)) == 2


def test_a_file_that_is_not_there_has_no_node(place):
    assert drive_node(str(place.file) + ".gone", str(place.root)) is None
