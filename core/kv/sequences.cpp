// Copy on write: a page is written by its only user, and only while it is not registered.
#include "kv/sequences.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace zs::kv {

Sequences::Sequences(size_t pages, size_t context, bool share, Copy copy)
    : context_(context), share_(share), copy_(std::move(copy)), table_(pages) {}

int Sequences::open() {
  auto slot =
      std::find_if(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return !s.open; });
  if (slot == sequences_.end()) slot = sequences_.emplace(sequences_.end());
  slot->open = true;
  return static_cast<int>(slot - sequences_.begin());
}

void Sequences::close(int sequence) {
  truncate(sequence, 0);
  at(sequence).open = false;
}

const Sequences::Sequence& Sequences::at(int sequence) const {
  if (sequence < 0 || static_cast<size_t>(sequence) >= sequences_.size() ||
      !sequences_[sequence].open) {
    throw Error(ErrorKind::InvalidRequest,
                "sequence " + std::to_string(sequence) + " is not open; open_sequence() gives one");
  }
  return sequences_[sequence];
}

int Sequences::fork(int sequence) {
  at(sequence);
  const int copy = open();
  const Sequence& from = at(sequence);  // open() may have moved it
  Sequence& to = at(copy);
  to.tokens = from.tokens;
  to.pages = from.pages;
  for (const int32_t page : to.pages) table_.hold(page);
  return copy;
}

size_t Sequences::adopt(int sequence, std::span<const int32_t> tokens) {
  const Sequence& s = at(sequence);
  if (!s.tokens.empty()) {
    throw Error(ErrorKind::InvalidRequest, "sequence " + std::to_string(sequence) + " holds " +
                                               std::to_string(s.tokens.size()) +
                                               " tokens; only an empty one adopts a prefix");
  }
  if (!share_ || tokens.empty()) return 0;
  const size_t most = std::min(tokens.size() - 1, context_);
  const size_t held = share_prefix(sequence, tokens.first(most));
  ++stats_.lookups;
  stats_.lookup_tokens += most;
  stats_.hits += held > 0;
  stats_.hit_tokens += held;
  return held;
}

size_t Sequences::share_prefix(int sequence, std::span<const int32_t> tokens) {
  Sequence& s = at(sequence);
  int32_t page = PageTable::kNone;
  for (size_t end = kPage; end <= tokens.size(); end += kPage) {
    page = table_.find(page, tokens.data() + end - kPage);
    if (page == PageTable::kNone) break;
    table_.hold(page);
    s.pages.push_back(page);
  }
  const size_t held = s.pages.size() * kPage;
  s.tokens.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(held));
  return held;
}

void Sequences::truncate(int sequence, size_t length) {
  Sequence& s = at(sequence);
  if (length < s.tokens.size()) s.tokens.resize(length);
  while (s.pages.size() > pages_for(s.tokens.size())) {
    table_.release(s.pages.back());
    s.pages.pop_back();
  }
}

int32_t Sequences::partial(const Sequence& s) {
  return s.tokens.size() % kPage == 0 ? PageTable::kNone : s.pages[s.tokens.size() / kPage];
}

size_t Sequences::need(std::span<const Growth> growths) const {
  size_t pages = 0;
  for (size_t i = 0; i < growths.size(); ++i) {
    const Sequence& s = at(growths[i].sequence);
    if (growths[i].length > context_) {
      throw Error(ErrorKind::ContextLength,
                  std::to_string(growths[i].length) + " positions do not fit the context of " +
                      std::to_string(context_) + "; shorten the prompt or load with a larger ctx");
    }
    const size_t wanted = pages_for(growths[i].length);
    pages += wanted - std::min(wanted, s.pages.size());
    const int32_t page = partial(s);
    if (page == PageTable::kNone || growths[i].length <= s.tokens.size()) continue;
    // Each of a page's users copies it, but for the last, who may have it.
    const auto earlier = std::count_if(
        growths.begin(), growths.begin() + static_cast<ptrdiff_t>(i), [&](const Growth& g) {
          return g.length > length(g.sequence) && partial(at(g.sequence)) == page;
        });
    pages += earlier + 1 < table_.users(page);
  }
  return pages;
}

void Sequences::reserve(std::span<const Growth> growths) {
  const size_t wanted_pages = need(growths);
  if (wanted_pages > table_.available()) {
    throw Error(ErrorKind::OutOfBudget,
                "the KV cache has no free page for this: it wants " + std::to_string(wanted_pages) +
                    ", and sequences hold " + std::to_string(table_.count() - table_.available()) +
                    " of " + std::to_string(table_.count()) +
                    " pages of 64 positions; close a sequence or load with a larger ctx");
  }
  // A page that is copied becomes cached, so one more is enough for all that are copied only to
  // stay registered. Without it every page that is not held is taken, those too that follow a
  // forgotten one.
  const bool spare = table_.available() > wanted_pages;
  for (const Growth& growth : growths) {
    Sequence& s = at(growth.sequence);
    if (growth.length > s.tokens.size()) own_last(s, spare);
    const size_t wanted = pages_for(growth.length);
    while (s.pages.size() < wanted) s.pages.push_back(table_.take());
  }
}

void Sequences::own_last(Sequence& s, bool spare) {
  const int32_t page = partial(s);
  if (page == PageTable::kNone) return;
  const bool shared = table_.users(page) > 1;
  if (!shared && !table_.registered(page)) return;
  if (!shared && !spare) {
    table_.forget(page);
    return;
  }
  const int32_t own = table_.take();
  copy_(page, own);
  ++stats_.copied;
  s.pages[s.tokens.size() / kPage] = own;
  table_.release(page);
}

void Sequences::commit(int sequence, std::span<const int32_t> tokens) {
  Sequence& s = at(sequence);
  const size_t full = s.tokens.size() / kPage;
  s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
  if (!share_) return;
  for (size_t i = full; i < s.tokens.size() / kPage; ++i) {
    const int32_t parent = i == 0 ? PageTable::kNone : s.pages[i - 1], page = s.pages[i];
    s.pages[i] = table_.enter(page, parent, s.tokens.data() + i * kPage);
    ++stats_.registered;
    stats_.merged += s.pages[i] != page;
  }
}

CacheStats Sequences::stats() const {
  CacheStats stats = stats_;
  stats.pages = table_.count();
  stats.cached = table_.cached();
  stats.free = table_.free();
  stats.held = stats.pages - stats.cached - stats.free;
  stats.evicted = table_.evicted();
  return stats;
}

void Sequences::check() const {
  std::vector<int32_t> users(table_.count());
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const Sequence& s = sequences_[i];
    const auto expect = [&](bool holds, const char* what) {
      if (holds) return;
      throw Error(ErrorKind::Internal, "sequence " + std::to_string(i) + " " + what +
                                           "; this is a fault in zerostall: please report it");
    };
    expect(s.open || s.tokens.empty(), "is closed and holds tokens");
    expect(s.pages.size() == pages_for(s.tokens.size()), "has not the pages of its tokens");
    for (size_t k = 0; k < s.pages.size(); ++k) {
      ++users[s.pages[k]];
      const size_t count = std::min(kPage, s.tokens.size() - k * kPage);
      if (!table_.registered(s.pages[k])) {
        expect(count < kPage || !share_, "has a full page that is not registered");
        continue;
      }
      const int32_t parent = k == 0 ? PageTable::kNone : s.pages[k - 1];
      expect(table_.holds(s.pages[k], parent, s.tokens.data() + k * kPage, count),
             "lists a page of other tokens");
    }
  }
  table_.check(users);
}

}  // namespace zs::kv
