// The NUMA node that the drive of a file hangs on.
#pragma once

#include <filesystem>
#include <optional>

namespace zs::cpu {

// Nothing if the drive is not local or the system does not say, as in most virtual machines.
// Volumes over several drives (LVM, RAID) have a node if all their drives share it.
std::optional<int> drive_node(const std::filesystem::path& root, const std::filesystem::path& file);

}  // namespace zs::cpu
