// POSIX signals; mmap is a system call that a handler may make.
#include "io/loss_watch.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

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
  for (Watched& each : table) {
    const uintptr_t begin = each.begin.load(), end = each.end.load();
    if (address < begin || address >= end) continue;
    const uintptr_t page = address / page_bytes * page_bytes;
    size_t first = each.lost.load();
    while (page - begin < first && !each.lost.compare_exchange_weak(first, page - begin)) {
    }
    return mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
  }
  return false;
}

void on_signal(int number, siginfo_t* info, void* context) {
  if (take_zeros(reinterpret_cast<uintptr_t>(info->si_addr))) return;
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(number, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else {
    // The access is tried again, and ends the process as it would have.
    signal(SIGBUS, SIG_DFL);
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

LossWatch::LossWatch(std::shared_ptr<const Mapping> mapping)
    : mapping_(std::move(mapping)), place_(-1) {
  install();
  const std::lock_guard lock(table_lock);
  for (int i = 0; i < kPlaces && place_ < 0; ++i) {
    if (table[i].end.load() == 0) place_ = i;
  }
  if (place_ < 0) return;
  const auto begin = reinterpret_cast<uintptr_t>(mapping_->bytes().data());
  const size_t bytes = (mapping_->bytes().size() + page_bytes - 1) / page_bytes * page_bytes;
  table[place_].lost = kNothing;
  table[place_].begin = begin;
  table[place_].end = begin + bytes;
}

LossWatch::~LossWatch() {
  if (place_ < 0) return;
  const std::lock_guard lock(table_lock);
  table[place_].end = 0;
  table[place_].begin = 0;
}

std::optional<uint64_t> LossWatch::take_lost() {
  if (place_ < 0 || table[place_].lost.load() == kNothing) return std::nullopt;
  const uint64_t lost = table[place_].lost.exchange(kNothing);
  mapping_->map_again();
  return lost;
}

void check_lost(const std::vector<std::unique_ptr<gguf::Watch>>& watches,
                const std::vector<std::string>& paths) {
  for (size_t i = 0; i < watches.size(); ++i) {
    const auto lost = watches[i]->take_lost();
    if (!lost) continue;
    throw Error(ErrorKind::Storage, gguf::printable(paths[i], 4096) + ": byte " +
                                        std::to_string(*lost) +
                                        " is not there any more; the file was cut short while it "
                                        "was in use, or its drive failed");
  }
}

}  // namespace zs::io
