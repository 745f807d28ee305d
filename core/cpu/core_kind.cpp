// Hybrid processors: Intel's P and E cores, ARM's big.LITTLE.
#include "cpu/core_kind.h"

#include <algorithm>
#include <map>
#include <thread>

#include "base/affinity.h"

#ifdef ZS_X86
#include <cpuid.h>
#endif

namespace zs::cpu {
namespace {

namespace fs = std::filesystem;

// Intel's performance-monitoring units: one device for each kind of core. cpu_lowpower holds the
// low-power cores of the SoC tile.
CpuList listed_by_linux(const fs::path& root, const CpuList& cpus) {
  CpuList efficient;
  for (const char* unit : {"cpu_atom", "cpu_lowpower"}) {
    const auto list = read_cpu_list(root / "sys/devices" / unit / "cpus");
    if (list) efficient.insert(efficient.end(), list->begin(), list->end());
  }
  std::sort(efficient.begin(), efficient.end());
  return intersection(efficient, cpus);
}

// Core type in the leaf's highest byte: Intel Software Developer's Manual, CPUID.1AH.
constexpr uint32_t kAtom = 0x20;

CpuList listed_by_cpuid(const Machine& machine, const CpuList& cpus) {
  CpuList efficient;
  if (!machine.hybrid_leaf) return efficient;
  for (const int cpu : cpus) {
    if (machine.hybrid_leaf(cpu) >> 24 == kAtom) efficient.push_back(cpu);
  }
  return efficient;
}

// Linux scales cpu_capacity so that the strongest core has 1024. Weaker than two thirds of that
// counts as efficiency: Cortex-A55 of an RK3588 has 530 or less, the middle cores of phones that
// pair X with A7x cores have 700 and more.
CpuList listed_by_capacity(const fs::path& root, const CpuList& cpus) {
  std::map<int, int64_t> capacity;
  int64_t strongest = 0;
  for (const int cpu : cpus) {
    const auto value = read_number(root / "sys/devices/system/cpu" / ("cpu" + std::to_string(cpu)) /
                                   "cpu_capacity");
    if (!value) return {};
    capacity[cpu] = *value;
    strongest = std::max(strongest, *value);
  }
  CpuList efficient;
  for (const auto& [cpu, value] : capacity) {
    if (value * 3 < strongest * 2) efficient.push_back(cpu);
  }
  return efficient;
}

}  // namespace

CpuList efficiency_cpus(const Machine& machine, const CpuList& cpus) {
  CpuList efficient = listed_by_linux(machine.root, cpus);
  if (efficient.empty()) efficient = listed_by_cpuid(machine, cpus);
  if (efficient.empty()) efficient = listed_by_capacity(machine.root, cpus);
  return efficient;
}

uint32_t hybrid_leaf(int cpu) {
#ifdef ZS_X86
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kHybrid = 1u << 15;  // leaf 7: this part has more than one kind of core
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & kHybrid)) return 0;
  uint32_t answer = 0;
  std::thread([&] {
    if (!bind_thread(cpu)) return;
    if (__get_cpuid_count(0x1a, 0, &eax, &ebx, &ecx, &edx)) answer = eax;
  }).join();
  return answer;
#else
  (void)cpu;
  return 0;
#endif
}

Machine this_machine() {
  Machine machine;
  machine.affinity = thread_affinity();
  machine.hybrid_leaf = hybrid_leaf;
  return machine;
}

}  // namespace zs::cpu
