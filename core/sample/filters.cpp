// Filters over candidates; only as much is sorted as a filter looks at.
#include "sample/filters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sample/exponential.h"

namespace zs::sample {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Sorts more and more of `items` until visit(item) returns true; keeps the items visited. Most
// filters need a few of 150,000 tokens, so the rest is never sorted.
template <typename T, typename Before, typename Visit>
void keep_sorted_until(std::vector<T>& items, Before before, Visit visit) {
  size_t sorted = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i == sorted) {
      const size_t next = std::min(items.size(), std::max<size_t>(64, 4 * sorted));
      const auto at = [&](size_t n) { return items.begin() + static_cast<std::ptrdiff_t>(n); };
      std::partial_sort(at(sorted), at(next), items.end(), before);
      sorted = next;
    }
    if (visit(items[i])) {
      items.resize(i + 1);
      return;
    }
  }
}

// Keeps the k most likely, unordered.
void cut(Candidates& candidates, size_t k) {
  if (candidates.size() <= k) return;
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(k);
  std::nth_element(candidates.begin(), end - 1, candidates.end(), more_likely);
  candidates.resize(k);
}

}  // namespace

void take_top_k(std::span<const float> logits, int32_t k, Candidates& out) {
  out.clear();
  const bool all = k <= 0 || static_cast<size_t>(k) >= logits.size();
  const size_t kept = all ? logits.size() : static_cast<size_t>(k);
  const size_t full = std::max<size_t>(1024, 4 * kept);
  // Once k tokens are known, a later one must exceed the least of them.
  float least = kNever;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > least)) continue;
    out.push_back({logits[i], static_cast<int32_t>(i)});
    if (out.size() < full) continue;
    cut(out, kept);
    least = std::min_element(out.begin(), out.end(), [](const auto& a, const auto& b) {
              return a.logit < b.logit;
            })->logit;
  }
  if (all) return;
  cut(out, kept);
  std::sort(out.begin(), out.end(), more_likely);
}

float highest_logit(const Candidates& candidates) {
  float highest = kNever;
  for (const Candidate& c : candidates) highest = std::max(highest, c.logit);
  return highest;
}

void keep_typical(Candidates& candidates, double p) {
  if (p >= 1) return;
  const double highest = highest_logit(candidates);
  double total = 0;
  double weighted = 0;
  for (const Candidate& c : candidates) {
    const double weight = exponential(c.logit - highest);
    total += weight;
    weighted += weight * (c.logit - highest);
  }
  // -log p - H = (log Z - l) - (log Z - E[l]): the partition function cancels.
  const double mean = weighted / total;
  struct Scored {
    double distance;
    Candidate candidate;
  };
  std::vector<Scored> scored;
  scored.reserve(candidates.size());
  for (const Candidate& c : candidates) scored.push_back({std::abs(c.logit - highest - mean), c});
  double sum = 0;
  keep_sorted_until(
      scored,
      [](const Scored& a, const Scored& b) {
        return a.distance != b.distance ? a.distance < b.distance
                                        : more_likely(a.candidate, b.candidate);
      },
      [&](const Scored& s) {
        sum += exponential(s.candidate.logit - highest);
        return sum > p * total;
      });
  candidates.clear();
  for (const Scored& s : scored) candidates.push_back(s.candidate);
}

void keep_top_p(Candidates& candidates, double p) {
  if (p >= 1) return;
  const double highest = highest_logit(candidates);
  double total = 0;
  for (const Candidate& c : candidates) total += exponential(c.logit - highest);
  double sum = 0;
  keep_sorted_until(candidates, more_likely, [&](const Candidate& c) {
    sum += exponential(c.logit - highest);
    return sum >= p * total;
  });
}

void keep_min_p(Candidates& candidates, double p) {
  if (p <= 0) return;
  const double highest = highest_logit(candidates);
  std::erase_if(candidates, [&](const Candidate& c) { return exponential(c.logit - highest) < p; });
}

}  // namespace zs::sample
