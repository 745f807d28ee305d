// Who has which page of the cache, and which full page holds which tokens.
//
// A page is held (sequences list it), cached (none does, but it is registered) or free. A
// registered page is full, never written again, and has a parent, the page before it, which stays
// registered at least as long. So the registered pages are a tree of prefixes, and a page's
// content is told by its parent and its own 64 tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.h"
#include "kernels/table.h"

namespace zs::kv {

inline constexpr size_t kPage = kernels::kPagePositions;

inline constexpr size_t pages_for(size_t positions) {
  return (positions + kPage - 1) / kPage;
}

class PageTable {
 public:
  static constexpr int32_t kNone = -1;

  explicit PageTable(size_t count);

  size_t count() const { return pages_.size(); }
  size_t free() const { return free_.size(); }
  size_t cached() const { return cached_; }
  size_t available() const { return free() + cached(); }
  uint64_t evicted() const { return evicted_; }

  // A page for one user: a free one, else the cached one that was used longest ago. There must be
  // one available. Pages are handed out lowest first, so that memory once touched is reused.
  int32_t take();
  void hold(int32_t page);
  // One user less. A sequence releases its last page first, so that of a chain of cached pages
  // the end is the older, and no cached page is evicted before those that follow it.
  void release(int32_t page);
  int32_t users(int32_t page) const { return pages_[page].users; }
  bool registered(int32_t page) const { return pages_[page].registered; }

  // The registered page that holds 64 `tokens` after those of `parent` (kNone: at the start);
  // kNone if there is none. Tokens are compared, so that equal hashes do no harm.
  int32_t find(int32_t parent, const int32_t* tokens) const;
  // Registers a page that is held and full. Returns the page to list: this one or, when another
  // holds the same already, that one, and this one is released.
  int32_t enter(int32_t page, int32_t parent, const int32_t* tokens);
  // Makes a page that has one user writable. Those registered after it are cached, because who
  // holds a page holds its parent; the caller must take() them before anything else.
  void forget(int32_t page) { unregister(page); }

  // Whether a page is registered, after `parent`, and begins with `count` tokens.
  bool holds(int32_t page, int32_t parent, const int32_t* tokens, size_t count) const;
  // Throws Internal unless everything agrees with how many sequences list each page.
  void check(const std::vector<int32_t>& users) const;

 private:
  struct Page {
    uint64_t hash = 0;  // of the tokens up to its end
    int32_t users = 0;
    int32_t parent = kNone;
    int32_t next = kNone;                  // in its bucket
    int32_t older = kNone, newer = kNone;  // among cached ones
    bool registered = false;
  };
  // Of each page 64 tokens, meaningful while it is registered.
  int32_t* tokens(int32_t page) {
    return reinterpret_cast<int32_t*>(tokens_.data()) + page * kPage;
  }
  const int32_t* tokens(int32_t page) const {
    return reinterpret_cast<const int32_t*>(tokens_.data()) + page * kPage;
  }
  uint64_t hash_of(int32_t parent, const int32_t* tokens) const;
  int32_t find(uint64_t hash, int32_t parent, const int32_t* tokens) const;
  size_t bucket(uint64_t hash) const { return hash & (buckets_.size() - 1); }
  void unregister(int32_t page);
  void link(int32_t page);
  void unlink(int32_t page);
  void check_registered(int32_t page) const;
  size_t check_cached() const;
  size_t check_buckets() const;

  std::vector<Page> pages_;
  AlignedBuffer tokens_;
  std::vector<int32_t> buckets_;  // first page of each; a power of two
  std::vector<int32_t> free_;     // the next to hand out is last
  int32_t oldest_ = kNone, newest_ = kNone;
  size_t cached_ = 0;
  uint64_t evicted_ = 0;
};

}  // namespace zs::kv
