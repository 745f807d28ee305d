// POSIX signals; mmap is a system call that a handler may make.
#include "io/loss_watch.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>

#include "base/error.h"
#include "gguf/report.h"

namespace zs::io {
namespace {

constexpr int kPlaces = 256;
constexpr size_t kNothing = std::numeric_limits<size_t>::max();

// Of a mapping, as addresses; end 0: the place is free.
struct Watched {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<size_t> lost{kNothing};  // the first byte
};

Watched table[kPlaces];
std::mutex table_lock;    // of places that are taken and freed; the handler takes none
struct sigaction before;  // what handled the signal
uintptr_t page_bytes = 4096;

// Zeros for all from the page on: what follows it in a file that was cut is gone as well.
bool take_zeros(uintptr_t address) {
  const uintptr_t page = address / page_bytes * page_bytes;
  uintptr_t zeros_to = 0;
  for (Watched& each : table) {
    const uintptr_t end = each.end.load(), begin = each.begin.load();
    // The place may be taken just now by another mapping: both are of one only if the end stayed.
    if (end == 0 || address < begin || address >= end || each.end.load() != end) continue;
    size_t first = each.lost.load();
    while (page - begin < first && !each.lost.compare_exchange_weak(first, page - begin)) {
    }
    zeros_to = end;  // several watch one mapping
  }
  return zeros_to != 0 &&
         mmap(reinterpret_cast<void*>(page), zeros_to - page, PROT_READ,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

void on_signal(int number, siginfo_t* info, void* context) {
  const bool touched = info->si_code > 0;  // else somebody sent the signal
  if (touched && take_zeros(reinterpret_cast<uintptr_t>(info->si_addr))) return;
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(number, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else {
    // The access is tried again, and ends the process as it would have.
    signal(SIGBUS, SIG_DFL);
    if (!touched) raise(SIGBUS);
  }
}

void install() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action{};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &before);
  });
}

}  // namespace

LossWatch::LossWatch(const std::string& path, std::shared_ptr<const Mapping> mapping)
    : path_(path), mapping_(std::move(mapping)), place_(-1) {
  if (mapping_->bytes().empty()) return;
  install();
  const std::lock_guard lock(table_lock);
  for (int i = 0; i < kPlaces && place_ < 0; ++i) {
    if (table[i].end.load() == 0) place_ = i;
  }
  if (place_ < 0) return;
  const auto begin = reinterpret_cast<uintptr_t>(mapping_->bytes().data());
  const size_t bytes = (mapping_->bytes().size() + page_bytes - 1) / page_bytes * page_bytes;
  table[place_].begin = begin;
  table[place_].lost = kNothing;
  table[place_].end = begin + bytes;
}

LossWatch::~LossWatch() {
  if (place_ < 0) return;
  take_lost();  // others may use the mapping: zeros must not stay
  const std::lock_guard lock(table_lock);
  table[place_].end = 0;
}

std::optional<Error> LossWatch::take_lost() {
  if (place_ < 0) return std::nullopt;
  // Of a page that the file has in part, the rest is zeros without a signal.
  const uint64_t size = mapping_->size_now();
  const size_t missing = size < mapping_->bytes().size() ? size : kNothing;
  std::atomic<size_t>& lost = table[place_].lost;
  const size_t first = std::min(lost.exchange(kNothing), missing);
  if (first == kNothing) return std::nullopt;
  if (!mapping_->map_again()) lost = first;  // it stays lost
  return Error(ErrorKind::Storage, gguf::printable(path_, 4096) + ": byte " +
                                       std::to_string(first) +
                                       " is not there any more; the file was cut short while it "
                                       "was in use, or its drive failed");
}

}  // namespace zs::io
