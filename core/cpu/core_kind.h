// Which CPUs belong to efficiency cores.
#pragma once

#include <cstdint>

#include "cpu/topology.h"

namespace zs::cpu {

// Of `cpus`, those of efficiency cores. The first of these that knows decides: Linux's lists of
// hybrid x86 CPUs, CPUID leaf 0x1A, Linux's cpu_capacity.
CpuList efficiency_cpus(const Machine& machine, const CpuList& cpus);

// EAX of CPUID leaf 0x1A as `cpu` answers it; 0 if there is no such leaf or the CPU may not be
// used. Visits the CPU with a thread of its own.
uint32_t hybrid_leaf(int cpu);

}  // namespace zs::cpu
