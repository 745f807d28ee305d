// Lists within the table: nothing here allocates after construction.
#include "kv/pages.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/xxh3.h"

namespace zs::kv {

PageTable::PageTable(size_t count)
    : pages_(count),
      tokens_(count * kPage * sizeof(int32_t), "the tokens of the KV cache"),
      buckets_(std::bit_ceil(count + 1), kNone) {
  free_.reserve(count);
  for (size_t i = count; i-- > 0;) free_.push_back(static_cast<int32_t>(i));
}

int32_t PageTable::take() {
  int32_t page = oldest_;
  if (!free_.empty()) {
    page = free_.back();
    free_.pop_back();
  } else {
    unlink(page);
    unregister(page);
    ++evicted_;
  }
  pages_[page].users = 1;
  return page;
}

void PageTable::hold(int32_t page) {
  if (pages_[page].users++ == 0) unlink(page);
}

void PageTable::release(int32_t page) {
  if (--pages_[page].users > 0) return;
  if (pages_[page].registered) {
    link(page);
  } else {
    free_.push_back(page);
  }
}

bool PageTable::holds(int32_t page, int32_t parent, const int32_t* wanted, size_t count) const {
  const Page& p = pages_[page];
  return p.registered && p.parent == parent && std::equal(wanted, wanted + count, tokens(page));
}

uint64_t PageTable::hash_of(int32_t parent, const int32_t* tokens) const {
  uint8_t chained[sizeof(uint64_t) + kPage * sizeof(int32_t)];
  const uint64_t before = parent == kNone ? 0 : pages_[parent].hash;
  std::memcpy(chained, &before, sizeof(before));
  std::memcpy(chained + sizeof(before), tokens, kPage * sizeof(int32_t));
  return xxh3_64(chained, sizeof(chained));
}

int32_t PageTable::find(uint64_t hash, int32_t parent, const int32_t* wanted) const {
  int32_t page = buckets_[bucket(hash)];
  while (page != kNone) {
    const Page& p = pages_[page];
    if (p.hash == hash && p.parent == parent && std::equal(wanted, wanted + kPage, tokens(page))) {
      break;
    }
    page = p.next;
  }
  return page;
}

int32_t PageTable::find(int32_t parent, const int32_t* wanted) const {
  return find(hash_of(parent, wanted), parent, wanted);
}

int32_t PageTable::enter(int32_t page, int32_t parent, const int32_t* held) {
  const uint64_t hash = hash_of(parent, held);
  const int32_t same = find(hash, parent, held);
  if (same != kNone) {
    hold(same);
    release(page);
    return same;
  }
  Page& p = pages_[page];
  p.hash = hash;
  p.parent = parent;
  p.registered = true;
  std::copy_n(held, kPage, tokens(page));
  p.next = buckets_[bucket(hash)];
  buckets_[bucket(hash)] = page;
  return page;
}

void PageTable::unregister(int32_t page) {
  Page& p = pages_[page];
  int32_t* at = &buckets_[bucket(p.hash)];
  while (*at != page) at = &pages_[*at].next;
  *at = p.next;
  p.next = p.parent = kNone;
  p.registered = false;
}

void PageTable::link(int32_t page) {
  pages_[page].older = newest_;
  (newest_ == kNone ? oldest_ : pages_[newest_].newer) = page;
  newest_ = page;
  ++cached_;
}

void PageTable::unlink(int32_t page) {
  Page& p = pages_[page];
  (p.older == kNone ? oldest_ : pages_[p.older].newer) = p.newer;
  (p.newer == kNone ? newest_ : pages_[p.newer].older) = p.older;
  p.older = p.newer = kNone;
  --cached_;
}

}  // namespace zs::kv
