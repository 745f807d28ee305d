// What the machine is made of, and where threads go. Any recorded tree can stand in for it.
#include "cpu/topology.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "bind/bind.h"
#include "cpu/cgroup.h"
#include "cpu/drive_node.h"
#include "cpu/features.h"
#include "cpu/memory_room.h"
#include "cpu/node_memory.h"
#include "cpu/placement.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zs::bind {
namespace {

using cpu::Topology;

// With a root of its own the machine is a recorded one, of which only what is given is known.
Topology read_topology(const std::optional<std::string>& root,
                       std::optional<std::vector<int>> affinity,
                       std::optional<std::map<int, uint32_t>> hybrid_leaf) {
  cpu::Machine machine;
  if (!root) machine = cpu::this_machine();
  if (root) machine.root = *root;
  if (affinity) {
    std::sort(affinity->begin(), affinity->end());
    machine.affinity = std::move(affinity);
  }
  if (hybrid_leaf) {
    machine.hybrid_leaf = [leaves = std::move(*hybrid_leaf)](int cpu) {
      const auto found = leaves.find(cpu);
      return found == leaves.end() ? uint32_t{0} : found->second;
    };
  }
  nb::gil_scoped_release release;
  return cpu::read_topology(machine);
}

cpu::Placement place(const Topology& topology, std::optional<int> threads, bool efficiency,
                     std::optional<bool> pin) {
  if (threads && *threads < 1) {
    throw Error(ErrorKind::InvalidRequest,
                "threads is " + std::to_string(*threads) + "; give at least 1.");
  }
  return cpu::place(topology, {threads, efficiency, pin});
}

nb::dict cpu_features() {
  const cpu::Features f = cpu::detect_features();
  nb::dict d;
  d["avx2"] = f.avx2;
  d["avx_vnni"] = f.avx_vnni;
  d["avx512"] = f.avx512;
  d["avx512_bf16"] = f.avx512_bf16;
  d["amx_int8"] = f.amx_int8;
  d["amx_bf16"] = f.amx_bf16;
  return d;
}

std::vector<std::string> cgroup_folders(const std::string& controller, const std::string& root) {
  std::vector<std::string> folders;
  for (const auto& folder : cpu::cgroup_folders(root, controller)) folders.push_back(folder);
  return folders;
}

void bind_parts(nb::module_& m) {
  nb::class_<cpu::Core>(m, "CpuCore", "A physical core, as far as this process may use it.")
      .def_ro("cpus", &cpu::Core::cpus, "Its hardware threads that may be used.")
      .def_prop_ro(
          "kind", [](const cpu::Core& core) { return cpu::core_kind_name(core.kind); },
          "performance or efficiency.")
      .def_ro("package", &cpu::Core::package, "The socket it is in.")
      .def_ro("node", &cpu::Core::node, "Its NUMA node.")
      .def_ro("last_cache", &cpu::Core::last_cache,
              "The lowest CPU that shares its last-level cache: equal for cores that share it.");
  nb::class_<cpu::Cache>(m, "CpuCache", "A data cache, or one for data and instructions.")
      .def_ro("level", &cpu::Cache::level, "1, 2, 3 or 4.")
      .def_ro("bytes", &cpu::Cache::bytes, "Its size; 0 if not known.")
      .def_ro("cpus", &cpu::Cache::cpus, "The CPUs that share it and may be used.");
  nb::class_<cpu::Node>(m, "NumaNode", "A NUMA node with CPUs that may be used.")
      .def_ro("id", &cpu::Node::id, "Its number.")
      .def_ro("cpus", &cpu::Node::cpus, "Its CPUs that may be used.")
      .def_ro("memory_bytes", &cpu::Node::memory_bytes, "Its memory; 0 if not known.");
  nb::class_<cpu::Placement>(m, "Placement", "How many threads compute, and where.")
      .def_ro("threads", &cpu::Placement::threads, "Threads, the caller included.")
      .def_ro("cpus", &cpu::Placement::cpus,
              "Thread i's CPU, one a core; empty with more threads than cores.")
      .def_ro("nodes", &cpu::Placement::nodes, "The NUMA node of each of these CPUs.")
      .def_ro("uneven", &cpu::Placement::uneven,
              "Whether performance and efficiency cores are among them.")
      .def_ro("pinned", &cpu::Placement::pinned, "Whether each thread stays on its CPU.")
      .def_ro("reason", &cpu::Placement::reason, "Why it does or does not.");
}

}  // namespace

void topology(nb::module_& m) {
  bind_parts(m);
  nb::class_<Topology>(m, "Topology", "The cores, caches and memory nodes of a machine.")
      .def_ro("described", &Topology::described,
              "False if the system does not describe its cores: every CPU counts as one.")
      .def_ro("source", &Topology::source, "Where this comes from.")
      .def_ro("cpus", &Topology::cpus, "CPUs online, in the affinity mask and in the cpuset.")
      .def_ro("cores", &Topology::cores, "Physical cores by lowest CPU.")
      .def_ro("caches", &Topology::caches, "Data caches by level, then lowest CPU.")
      .def_ro("nodes", &Topology::nodes, "NUMA nodes; at least one.")
      .def_ro("packages", &Topology::packages, "Sockets.")
      .def_ro("quota", &Topology::quota, "CPUs' worth of time that control groups allow.")
      .def("place", &place, "threads"_a = nb::none(), "efficiency"_a = false, "pin"_a = nb::none(),
           "How many threads compute, and where.\n\n"
           "threads: None for one a performance core within the quota, and if `efficiency` one\n"
           "an efficiency core too. pin: None pins where that helps: when the threads take every\n"
           "core and the quota lets them. Raises InvalidRequestError if pin is True and cannot be\n"
           "done.");
  m.def("read_topology", read_topology, "root"_a = nb::none(), "affinity"_a = nb::none(),
        "hybrid_leaf"_a = nb::none(),
        "This machine as the calling thread may use it.\n\n"
        "root: a folder with a copy of another machine's sys and proc; then affinity (CPUs of\n"
        "the mask) and hybrid_leaf (EAX of CPUID leaf 0x1A by CPU) complete it.");
  m.def(
      "split_by_node",
      [](size_t count, const std::vector<int>& nodes) {
        std::vector<std::tuple<int, size_t, size_t>> parts;
        for (const auto& [node, items] : cpu::split_by_node(count, nodes)) {
          parts.emplace_back(node, items.begin, items.end);
        }
        return parts;
      },
      "count"_a, "nodes"_a,
      "Which of `count` items the threads of each NUMA node share, as (node, begin, end).\n\n"
      "nodes: that of each thread; those of one node follow each other.");
  m.def(
      "drive_node",
      [](const std::string& path, const std::string& root) { return cpu::drive_node(root, path); },
      "path"_a, "root"_a = "/",
      "The NUMA node that the drive of a file hangs on; None if unknown or not local.");
  m.def(
      "memory_room",
      [](const std::string& root) {
        auto room = cpu::MemoryRoom(root).bytes();
        if (room) room = std::max<int64_t>(0, *room);
        return room;
      },
      "root"_a = "/",
      "Bytes this process can still take: free memory, within its control groups' limits, page\n"
      "cache that can be dropped counted as free. None where the system does not say.");
  m.def("cgroup_folders", cgroup_folders, "controller"_a, "root"_a = "/",
        "Folders of this process's control groups that hold a controller, innermost first.");
  m.def("cpu_features", cpu_features, nb::sig("def cpu_features() -> dict[str, bool]"),
        "What processor and operating system offer to kernels.");
}

}  // namespace zs::bind
