// Linux describes CPUs below /sys/devices/system (the kernel's admin-guide/cputopology and
// ABI/testing/sysfs-devices-system-cpu).
#include "cpu/topology.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "cpu/cgroup.h"
#include "cpu/core_kind.h"

namespace zs::cpu {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCpus = "sys/devices/system/cpu";
constexpr const char* kNodes = "sys/devices/system/node";

fs::path folder_of(const fs::path& root, int cpu) {
  return root / kCpus / ("cpu" + std::to_string(cpu));
}

// What both allow; a limit that would leave nothing is not believed.
CpuList limited(CpuList cpus, const std::optional<CpuList>& limit) {
  if (!limit) return cpus;
  CpuList both = intersection(cpus, *limit);
  return both.empty() ? cpus : both;
}

// Kernels before 5.3 know only the older name.
CpuList siblings_of(const fs::path& cpu_folder, int cpu) {
  for (const char* name : {"core_cpus_list", "thread_siblings_list"}) {
    const auto list = read_cpu_list(cpu_folder / "topology" / name);
    if (list && contains(*list, cpu)) return *list;
  }
  return {cpu};
}

std::vector<Core> read_cores(const fs::path& root, const CpuList& cpus) {
  std::map<CpuList, Core> cores;
  for (const int cpu : cpus) {
    const fs::path folder = folder_of(root, cpu);
    Core& core = cores[siblings_of(folder, cpu)];
    if (core.cpus.empty()) {
      const auto package = read_number(folder / "topology/physical_package_id");
      core.package = static_cast<int>(std::max<int64_t>(0, package.value_or(0)));  // -1: unknown
    }
    core.cpus.push_back(cpu);
  }
  std::vector<Core> list;
  for (auto& [siblings, core] : cores) list.push_back(std::move(core));
  std::sort(list.begin(), list.end(), [](const Core& a, const Core& b) { return a.cpus < b.cpus; });
  return list;
}

// Reads the caches of one CPU into `found` and returns the lowest CPU of the last-level one.
int read_caches(const fs::path& root, int cpu, const CpuList& allowed,
                std::map<std::pair<int, CpuList>, size_t>& found) {
  int last_level = 0, last_cache = cpu;
  for (int index = 0;; ++index) {
    const fs::path folder = folder_of(root, cpu) / "cache" / ("index" + std::to_string(index));
    const auto level = read_number(folder / "level");
    if (!level) return last_cache;
    if (read_text(folder / "type") == "Instruction") continue;
    const CpuList sharing = read_cpu_list(folder / "shared_cpu_list").value_or(CpuList{cpu});
    const CpuList used = intersection(sharing, allowed);
    if (used.empty()) continue;
    found[{static_cast<int>(*level), used}] = read_size(folder / "size").value_or(0);
    if (*level > last_level) {
      last_level = static_cast<int>(*level);
      last_cache = sharing.front();
    }
  }
}

// "Node 0 MemTotal:       32768000 kB"
size_t node_memory(const fs::path& folder) {
  const auto text = read_text(folder / "meminfo");
  if (!text) return 0;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find("MemTotal:");
    if (at == std::string::npos) continue;
    const auto kib = leading_number(std::string_view(line).substr(at + 9));
    return static_cast<size_t>(kib.value_or(0)) << 10;
  }
  return 0;
}

std::vector<Node> read_nodes(const fs::path& root, const CpuList& cpus) {
  std::vector<Node> nodes;
  for (const int id : read_cpu_list(root / kNodes / "online").value_or(CpuList{})) {
    const fs::path folder = root / kNodes / ("node" + std::to_string(id));
    Node node{id, intersection(read_cpu_list(folder / "cpulist").value_or(CpuList{}), cpus), 0};
    if (node.cpus.empty()) continue;  // memory alone, such as CXL or HBM
    node.memory_bytes = node_memory(folder);
    nodes.push_back(std::move(node));
  }
  if (nodes.empty()) nodes.push_back({0, cpus, 0});
  return nodes;
}

// A machine that does not describe itself: each logical CPU counts as a core.
Topology undescribed(const Machine& machine, Topology t) {
  if (machine.affinity && !machine.affinity->empty()) {
    t.cpus = *machine.affinity;
    t.source = "affinity mask: no /sys/devices/system/cpu, so every logical CPU counts as a core";
  } else {
    const int count = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    for (int cpu = 0; cpu < count; ++cpu) t.cpus.push_back(cpu);
    t.source =
        "std::thread::hardware_concurrency: no /sys/devices/system/cpu, so every logical CPU "
        "counts as a core";
  }
  for (const int cpu : t.cpus) t.cores.push_back({{cpu}, CoreKind::Performance, 0, 0, cpu});
  t.nodes.push_back({0, t.cpus, 0});
  return t;
}

}  // namespace

const char* core_kind_name(CoreKind kind) {
  return kind == CoreKind::Performance ? "performance" : "efficiency";
}

Topology read_topology(const Machine& machine) {
  const fs::path& root = machine.root;
  Topology t;
  t.quota = cpu_quota(root);
  const auto online = read_cpu_list(root / kCpus / "online");
  if (!online || online->empty()) return undescribed(machine, std::move(t));
  t.described = true;
  t.source = "sysfs";
  t.cpus = limited(limited(*online, machine.affinity), cpuset(root));
  t.cores = read_cores(root, t.cpus);
  t.nodes = read_nodes(root, t.cpus);
  const CpuList efficient = efficiency_cpus(machine, t.cpus);
  std::map<std::pair<int, CpuList>, size_t> caches;
  std::set<int> packages;
  for (Core& core : t.cores) {
    const int cpu = core.cpus.front();
    core.last_cache = read_caches(root, cpu, t.cpus, caches);
    core.kind = contains(efficient, cpu) ? CoreKind::Efficiency : CoreKind::Performance;
    for (const Node& node : t.nodes) {
      if (contains(node.cpus, cpu)) core.node = node.id;
    }
    packages.insert(core.package);
  }
  for (const auto& [key, bytes] : caches) t.caches.push_back({key.first, bytes, key.second});
  t.packages = static_cast<int>(packages.size());
  return t;
}

}  // namespace zs::cpu
