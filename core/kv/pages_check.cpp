// What must hold of the table between steps, for tests and for those who look for a fault.
#include <string>

#include "base/error.h"
#include "kv/pages.h"

namespace zs::kv {
namespace {

void expect(bool holds, int32_t page, const char* what) {
  if (holds) return;
  throw Error(ErrorKind::Internal, "page " + std::to_string(page) + " of the KV cache " + what +
                                       "; this is a fault in zerostall: please report it");
}

}  // namespace

void PageTable::check(const std::vector<int32_t>& users) const {
  std::vector<bool> is_free(pages_.size());
  for (const int32_t page : free_) {
    expect(!is_free[page], page, "is free twice");
    is_free[page] = true;
  }
  size_t registered = 0, idle = 0;
  for (size_t i = 0; i < pages_.size(); ++i) {
    const auto page = static_cast<int32_t>(i);
    const Page& p = pages_[i];
    expect(p.users == users[i], page, "counts other users than the sequences that list it");
    expect(is_free[i] == (p.users == 0 && !p.registered), page,
           "is not in exactly one of held, cached and free");
    idle += p.users == 0 && p.registered;
    registered += p.registered;
    if (p.registered) check_registered(page);
  }
  expect(check_cached() == idle && cached_ == idle, oldest_, "begins a list that is not whole");
  expect(check_buckets() == registered, kNone, "is registered and not in the table");
}

void PageTable::check_registered(int32_t page) const {
  const Page& p = pages_[page];
  expect(p.parent == kNone || pages_[p.parent].registered, page, "lost its parent");
  expect(p.users == 0 || p.parent == kNone || pages_[p.parent].users >= p.users, page,
         "is held by more sequences than its parent");
  expect(p.hash == hash_of(p.parent, tokens(page)), page, "has a hash that is not of its tokens");
  expect(find(p.parent, tokens(page)) == page, page, "is not found by its tokens");
}

size_t PageTable::check_cached() const {
  size_t found = 0;
  std::vector<bool> seen(pages_.size());
  int32_t before = kNone;
  for (int32_t page = oldest_; page != kNone; before = page, page = pages_[page].newer) {
    const Page& p = pages_[page];
    expect(p.users == 0 && p.registered && !seen[page], page, "is wrongly among the cached");
    expect(p.older == before, page, "has another neighbour in the list of cached pages");
    expect(p.parent == kNone || !seen[p.parent], page, "would be evicted after its parent");
    seen[page] = true;
    ++found;
  }
  expect(newest_ == before, newest_, "is not the end of the list of cached pages");
  return found;
}

size_t PageTable::check_buckets() const {
  size_t found = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    for (int32_t page = buckets_[i]; page != kNone; page = pages_[page].next) {
      expect(pages_[page].registered && bucket(pages_[page].hash) == i, page,
             "is wrongly in the table");
      expect(++found <= pages_.size(), page, "is in the table twice");
    }
  }
  return found;
}

}  // namespace zs::kv
