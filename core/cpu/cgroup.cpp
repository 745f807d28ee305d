// /proc/self/cgroup names the groups; their files lie below /sys/fs/cgroup. Formats: the kernel's
// admin-guide/cgroup-v2 and cgroup-v1.
#include "cpu/cgroup.h"

#include <algorithm>
#include <sstream>

namespace zs::cpu {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool lists(const std::string& controllers, const std::string& controller) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == controller) return true;
  }
  return false;
}

// The group's folder and those above it. A container may see its own group as the root, and then
// the folder named is absent; ".." leads out of what it may see.
void append_folders(const fs::path& top, const std::string& group, std::vector<fs::path>& out) {
  std::vector<fs::path> folders{top};
  for (const fs::path& part : fs::path(group).relative_path()) {
    if (part == "..") {
      folders.resize(1);
      break;
    }
    if (!part.empty() && part != ".") folders.push_back(folders.back() / part);
  }
  std::copy_if(folders.rbegin(), folders.rend(), std::back_inserter(out), is_folder);
}

std::optional<double> quota_of(const fs::path& folder) {
  int64_t quota = 0, period = 0;
  if (const auto text = read_text(folder / "cpu.max")) {
    // "50000 100000"; "max 100000" is no limit
    quota = leading_number(*text).value_or(-1);
    period = leading_number(std::string_view(*text).substr(std::min(text->size(), text->find(' '))))
                 .value_or(0);
  } else {
    quota = read_number(folder / "cpu.cfs_quota_us").value_or(-1);
    period = read_number(folder / "cpu.cfs_period_us").value_or(0);
  }
  if (quota <= 0 || period <= 0) return std::nullopt;
  return static_cast<double>(quota) / static_cast<double>(period);
}

}  // namespace

std::vector<fs::path> cgroup_folders(const fs::path& root, const std::string& controller) {
  std::vector<fs::path> folders;
  const auto text = read_text(root / "proc/self/cgroup");
  if (!text) return folders;
  const fs::path base = root / "sys/fs/cgroup";
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    // hierarchy:controllers:group, where version 2 names no controllers
    const size_t first = line.find(':');
    if (first == std::string::npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      append_folders(is_folder(base / "unified") ? base / "unified" : base, group, folders);
    } else if (lists(controllers, controller)) {
      append_folders(is_folder(base / controller) ? base / controller : base / controllers, group,
                     folders);
    }
  }
  return folders;
}

std::optional<double> cpu_quota(const fs::path& root) {
  std::optional<double> tightest;
  for (const fs::path& folder : cgroup_folders(root, "cpu")) {
    const auto quota = quota_of(folder);
    if (quota && (!tightest || *quota < *tightest)) tightest = quota;
  }
  return tightest;
}

std::optional<CpuList> cpuset(const fs::path& root) {
  for (const fs::path& folder : cgroup_folders(root, "cpuset")) {
    for (const char* name : {"cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"}) {
      const auto cpus = read_cpu_list(folder / name);
      if (cpus && !cpus->empty()) return cpus;
    }
  }
  return std::nullopt;
}

}  // namespace zs::cpu
