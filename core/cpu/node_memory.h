// Memory on the NUMA node of whoever reads it.
#pragma once

#include <cstddef>
#include <vector>

#include "base/thread_pool.h"

namespace zs::cpu {

// Part of `count` items, in the fixed split among threads, that the threads of one node have.
struct NodePart {
  int node;
  Range items;
};
// `nodes` is the node of each thread; those of one node follow each other. One part a run.
std::vector<NodePart> split_by_node(size_t count, const std::vector<int>& nodes);

// Asks that pages of [data, data + bytes) not yet there come from `node` while it has any. False
// where the system has no such request or the node does not exist.
bool prefer_node(const void* data, size_t bytes, int node);

}  // namespace zs::cpu
