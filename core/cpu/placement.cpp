// Choosing cores. Two hardware threads of one core share its vector units and its path to memory,
// so a second thread there adds waiting at every barrier and no speed.
#include "cpu/placement.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace zs::cpu {
namespace {

// CPUs of the cores of one kind: a NUMA node after the other, in it a last-level cache after the
// other, those with the most cores first so that few threads meet in one.
CpuList ordered(const Topology& t, CoreKind kind) {
  std::map<int, int> of_node, of_cache;
  std::vector<const Core*> cores;
  for (const Core& core : t.cores) {
    if (core.kind != kind) continue;
    ++of_node[core.node];
    ++of_cache[core.last_cache];
    cores.push_back(&core);
  }
  std::stable_sort(cores.begin(), cores.end(), [&](const Core* a, const Core* b) {
    const auto key = [&](const Core* core) {
      return std::tuple(-of_node[core->node], core->node, -of_cache[core->last_cache],
                        core->last_cache, core->cpus.front());
    };
    return key(a) < key(b);
  });
  CpuList cpus;
  for (const Core* core : cores) cpus.push_back(core->cpus.front());
  return cpus;
}

// Rounded down: a pool that spins past its quota is stopped for the rest of the period.
int within_quota(size_t cores, const std::optional<double>& quota) {
  const int count = static_cast<int>(cores);
  if (!quota || *quota >= count) return count;
  return std::max(1, static_cast<int>(*quota));
}

// Why no thread can be pinned, or nothing.
std::optional<std::string> obstacle(const Topology& t, int threads, size_t cores) {
  if (!t.described) return "the system does not describe its cores";
  if (threads > static_cast<int>(cores)) {
    return std::to_string(threads) + " threads are more than the " + std::to_string(cores) +
           " cores allowed";
  }
  return std::nullopt;
}

// A thread that may not move waits while something else has its CPU. So only who takes every core
// is pinned: there is nowhere to move to. Fewer threads mean that the rest is meant for others,
// who may have chosen the same CPUs.
std::optional<std::string> drawback(const Topology& t, int threads, size_t performance,
                                    size_t all) {
  if (t.quota && *t.quota < threads) return "the quota is smaller than the threads";
  const auto count = static_cast<size_t>(threads);
  if (count == performance || count == all) return std::nullopt;
  return "threads leave cores to others, and may move around them";
}

// Nodes and kinds of the chosen CPUs.
void describe(const Topology& t, Placement& p) {
  bool kinds[2] = {};
  for (const int cpu : p.cpus) {
    for (const Core& core : t.cores) {
      if (core.cpus.front() != cpu) continue;
      p.nodes.push_back(core.node);
      kinds[core.kind == CoreKind::Efficiency] = true;
    }
  }
  p.uneven = kinds[0] && kinds[1];
}

}  // namespace

Placement place(const Topology& t, const Request& request) {
  CpuList cpus = ordered(t, CoreKind::Performance);
  const CpuList efficient = ordered(t, CoreKind::Efficiency);
  // A mask of efficiency cores alone is all there is.
  const size_t performance = cpus.empty() ? efficient.size() : cpus.size();
  cpus.insert(cpus.end(), efficient.begin(), efficient.end());

  Placement p;
  p.threads = request.threads.value_or(
      within_quota(request.efficiency ? cpus.size() : performance, t.quota));
  const auto impossible = obstacle(t, p.threads, cpus.size());
  if (request.pin.value_or(false) && impossible) {
    throw Error(ErrorKind::InvalidRequest, "threads cannot be pinned: " + *impossible +
                                               "; leave pin unset, or set it to false.");
  }
  if (p.threads <= static_cast<int>(cpus.size())) {
    p.cpus.assign(cpus.begin(), cpus.begin() + p.threads);
    describe(t, p);
  }
  std::optional<std::string> reason = impossible;
  if (!reason && request.pin) {
    p.reason = *request.pin ? "as asked" : "switched off";
    p.pinned = *request.pin;
    return p;
  }
  if (!reason) reason = drawback(t, p.threads, performance, cpus.size());
  p.pinned = !reason;
  p.reason = reason.value_or("one thread for every core");
  return p;
}

}  // namespace zs::cpu
