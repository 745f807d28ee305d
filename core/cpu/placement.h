// How many threads compute, and on which CPUs.
#pragma once

#include <optional>
#include <string>

#include "cpu/topology.h"

namespace zs::cpu {

struct Request {
  std::optional<int> threads;  // nothing: the default
  bool efficiency = false;     // the default counts efficiency cores too
  std::optional<bool> pin;     // nothing: where it helps
};

struct Placement {
  int threads = 1;
  // Thread i's CPU, one a core. Empty if there are more threads than cores.
  CpuList cpus;
  std::vector<int> nodes;  // of each of them: the NUMA node
  bool uneven = false;     // whether performance and efficiency cores are among them
  bool pinned = false;     // whether each thread is to stay on its CPU
  std::string reason;      // why pinned or not, for people
};

// By default one thread for each performance core, within the quota; cores of one NUMA node and
// one last-level cache follow each other. Throws InvalidRequest if pinning is asked for and
// cannot be done.
Placement place(const Topology& topology, const Request& request);

}  // namespace zs::cpu
