// Sequences: their tokens and the pages that hold them, shared where tokens are the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kv/pages.h"

namespace zs::kv {

// Pages, and counts since the load.
struct CacheStats {
  size_t pages = 0, held = 0, cached = 0, free = 0;
  uint64_t lookups = 0;        // prefixes looked for
  uint64_t lookup_tokens = 0;  // that could have been found: all but the last of each
  uint64_t hits = 0;           // lookups that found at least a page
  uint64_t hit_tokens = 0;
  uint64_t registered = 0;  // pages that became full
  uint64_t merged = 0;      // of these, given back because a page with the same tokens was there
  uint64_t copied = 0;      // pages copied because they were to be written
  uint64_t evicted = 0;     // cached pages whose memory was wanted
};

class Sequences {
 public:
  // `copy(from, to)` copies a page in all layers.
  using Copy = std::function<void(int32_t from, int32_t to)>;
  // Growth of a sequence to `length` positions.
  struct Growth {
    int sequence;
    size_t length;
  };

  // At most `context` positions in a sequence. `share`: whether full pages are registered, so
  // that others find them.
  Sequences(size_t pages, size_t context, bool share, Copy copy);

  int open();
  void close(int sequence);
  // A sequence with the same tokens and pages.
  int fork(int sequence);
  // Takes over registered pages that begin with `tokens`, never the last token, because its
  // logits are wanted. Returns positions held. Throws InvalidRequest unless the sequence is empty.
  size_t adopt(int sequence, std::span<const int32_t> tokens);
  // Gives an empty sequence all registered pages that begin `tokens`; returns positions.
  size_t share_prefix(int sequence, std::span<const int32_t> tokens);
  // Forgets positions from `length` on and releases their pages.
  void truncate(int sequence, size_t length);
  // Makes room for different sequences to grow, each with its last page for itself. Throws
  // ContextLength past the context and OutOfBudget when pages are wanted and all are held; either
  // way nothing changes.
  void reserve(std::span<const Growth> growths);
  // After the step that stored them: `tokens` follow. Full pages are registered.
  void commit(int sequence, std::span<const int32_t> tokens);

  // These throw InvalidRequest for a sequence that is not open.
  size_t length(int sequence) const { return at(sequence).tokens.size(); }
  const std::vector<int32_t>& tokens(int sequence) const { return at(sequence).tokens; }
  const std::vector<int32_t>& pages(int sequence) const { return at(sequence).pages; }

  size_t context() const { return context_; }
  // Positions on pages that are free or cached.
  size_t free_tokens() const { return table_.available() * kPage; }
  CacheStats stats() const;
  // Throws Internal if pages, counts, tokens or hashes do not agree.
  void check() const;

 private:
  struct Sequence {
    bool open = false;
    std::vector<int32_t> tokens;
    std::vector<int32_t> pages;
  };
  const Sequence& at(int sequence) const;
  Sequence& at(int sequence) { return const_cast<Sequence&>(std::as_const(*this).at(sequence)); }
  // The page that the next token is written to, if it already has tokens; else kNone.
  static int32_t partial(const Sequence& s);
  // Pages without which it does not go.
  size_t need(std::span<const Growth> growths) const;
  void own_last(Sequence& s, bool spare);

  size_t context_;
  bool share_;
  Copy copy_;
  PageTable table_;
  std::vector<Sequence> sequences_;
  CacheStats stats_;
};

}  // namespace zs::kv
