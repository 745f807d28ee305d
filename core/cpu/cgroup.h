// The limits of Linux control groups, versions 1 and 2, on this process.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cpu/sysfs.h"

namespace zs::cpu {

// Folders of this process's groups that hold `controller`, innermost first: a limit on any of
// them holds. Empty outside Linux.
std::vector<std::filesystem::path> cgroup_folders(const std::filesystem::path& root,
                                                  const std::string& controller);

// CPUs that the tightest group lets this process use, such as 2.5; nothing without a limit.
std::optional<double> cpu_quota(const std::filesystem::path& root);

// CPUs of the innermost cpuset; nothing where there is none.
std::optional<CpuList> cpuset(const std::filesystem::path& root);

}  // namespace zs::cpu
