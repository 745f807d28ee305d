// The cores, caches and memory nodes that this process may use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cpu/sysfs.h"

namespace zs::cpu {

enum class CoreKind { Performance, Efficiency };
const char* core_kind_name(CoreKind kind);

// A physical core. Its hardware threads share vector units and the path to memory.
struct Core {
  CpuList cpus;  // hardware threads that may be used, at least one
  CoreKind kind = CoreKind::Performance;
  int package = 0;
  int node = 0;        // NUMA node
  int last_cache = 0;  // lowest CPU that shares its last-level cache
};

// One data or unified cache, from level 1 on.
struct Cache {
  int level = 0;
  size_t bytes = 0;
  CpuList cpus;  // those that share it and may be used
};

// A NUMA node with CPUs that may be used.
struct Node {
  int id = 0;
  CpuList cpus;
  size_t memory_bytes = 0;  // 0: not known
};

struct Topology {
  // False where the system does not describe its CPUs (no sysfs): every CPU counts as a core.
  bool described = false;
  std::string source;         // where this comes from, for people
  CpuList cpus;               // online, in the affinity mask and in the cpuset
  std::vector<Core> cores;    // by lowest CPU
  std::vector<Cache> caches;  // by level, then lowest CPU
  std::vector<Node> nodes;    // by id; at least one
  int packages = 1;
  std::optional<double> quota;  // CPUs' worth of time, from control groups
};

// Where to look. The defaults describe no particular machine; see this_machine().
struct Machine {
  std::filesystem::path root = "/";
  std::optional<CpuList> affinity;  // nothing: no mask
  // EAX of CPUID leaf 0x1A executed on a CPU: 0 if there is no such leaf. Empty: no CPUID.
  std::function<uint32_t(int cpu)> hybrid_leaf;
};

// The machine this process runs on, with the affinity mask of the calling thread.
Machine this_machine();

Topology read_topology(const Machine& machine);

}  // namespace zs::cpu
