// Greedy list scheduling: each read goes where what is queued there and itself end first.
#include "io/mirrors.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "gguf/report.h"
#include "io/plain_file.h"

namespace zs::io {
namespace {

constexpr double kEnoughBytes = 4 << 20;  // before a speed is believed
constexpr double kMemory_s = 1;           // busy time after which the past counts half
constexpr uint64_t kPiece = 64 << 10;
// 8 MiB: read in a tenth of a second from a drive without moving parts, in two from another; of a
// model of 20 GB every layer has some.
constexpr uint64_t kSamples = 128;

double seconds(Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

bool same(const PlainFile& file, const PlainFile& mirror, uint64_t begin, uint64_t end) {
  std::vector<uint8_t> bytes(kPiece), others(kPiece);
  for (; begin < end; begin += kPiece) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(kPiece, end - begin));
    file.read(begin, std::span(bytes).first(count));
    mirror.read(begin, std::span(others).first(count));
    if (!std::equal(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(count), others.begin())) {
      return false;
    }
  }
  return true;
}

bool same(const PlainFile& file, const PlainFile& mirror, uint64_t head) {
  const uint64_t size = file.size(), last = size - std::min<uint64_t>(size, kPiece);
  if (mirror.size() != size) return false;
  if (!same(file, mirror, 0, std::min(head, size))) return false;
  // One after the other where the file is short; the last one is its end.
  const uint64_t count = std::min<uint64_t>(kSamples, last / kPiece + 1);
  for (uint64_t i = 0; i <= count; ++i) {
    const uint64_t begin = last / count * i + last % count * i / count;
    if (!same(file, mirror, begin, std::min(begin + kPiece, size))) return false;
  }
  return true;
}

void compare(const std::string& path, const std::string& mirror, uint64_t head) {
  if (same(PlainFile(path), PlainFile(mirror), head)) return;
  throw Error(ErrorKind::Storage, gguf::printable(mirror, 4096) + ": is no copy of " +
                                      gguf::printable(path, 4096) + "; copy it again");
}

}  // namespace

size_t Mirrors::choose(size_t bytes) const {
  double fastest = 0;
  for (size_t i = 0; i < copies_.size(); ++i) fastest = std::max(fastest, speed(i));
  size_t best = 0;
  double best_s = 0;
  for (size_t i = 0; i < copies_.size(); ++i) {
    if (copies_[i].failed) continue;
    // A copy of unknown speed is tried as if it was as fast as any.
    const double rate = speed(i) > 0 ? speed(i) : fastest > 0 ? fastest : 1;
    const double until_s = static_cast<double>(copies_[i].queued_bytes + bytes) / rate;
    if (i == 0 || until_s < best_s) {
      best = i;
      best_s = until_s;
    }
  }
  return best;
}

size_t Mirrors::after_failure(size_t copy, unsigned attempts) const {
  if (copy != 0 || attempts < 2) return 0;
  for (size_t i = 1; i < copies_.size(); ++i) {
    if (!copies_[i].failed) return i;
  }
  return 0;
}

bool Mirrors::give_up(size_t mirror) {
  const bool was = copies_[mirror].failed;
  copies_[mirror].failed = true;
  return !was;
}

void Mirrors::begin(size_t copy, size_t bytes, Clock::time_point now) {
  Copy& c = copies_[copy];
  if (c.under_way++ == 0) c.counted = now;
  c.queued_bytes += bytes;
}

void Mirrors::end(size_t copy, size_t bytes, bool read, Clock::time_point now) {
  Copy& c = copies_[copy];
  --c.under_way;
  c.queued_bytes -= bytes;
  c.busy_s += seconds(now - c.counted);
  c.counted = now;
  if (!read) return;
  c.total_bytes += bytes;
  c.recent_bytes += static_cast<double>(bytes);
  if (c.busy_s > kMemory_s) {
    c.busy_s /= 2;
    c.recent_bytes /= 2;
  }
}

double Mirrors::speed(size_t copy) const {
  const Copy& c = copies_[copy];
  return c.recent_bytes >= kEnoughBytes && c.busy_s > 0 ? c.recent_bytes / c.busy_s : 0;
}

std::vector<std::string> all_copies(const std::vector<std::string>& paths,
                                    const std::vector<std::vector<std::string>>& mirrors,
                                    const std::vector<uint64_t>& heads) {
  std::vector<std::string> all = paths;
  for (const std::vector<std::string>& mirror : mirrors) {
    if (mirror.size() != paths.size()) {
      throw Error(ErrorKind::InvalidRequest,
                  "a mirror has " + std::to_string(mirror.size()) + " files, the model " +
                      std::to_string(paths.size()) + "; give a copy of each");
    }
    for (size_t i = 0; i < paths.size(); ++i) {
      compare(paths[i], mirror[i], i < heads.size() ? heads[i] : 0);
    }
    all.insert(all.end(), mirror.begin(), mirror.end());
  }
  return all;
}

}  // namespace zs::io
