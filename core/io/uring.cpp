// io_uring by system calls. Both queues lie in one mapping (Linux 5.4).
#include "io/uring.h"

#include <cerrno>

#if defined(__linux__) && __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/affinity.h"

namespace zs::io {
namespace {

// Newer than the oldest headers to build with, Linux 5.10.
constexpr unsigned kFeatureExtArg = 1u << 8;  // IORING_FEAT_EXT_ARG, 5.11
constexpr unsigned kEnterExtArg = 1u << 3;    // IORING_ENTER_EXT_ARG
constexpr unsigned kRegisterWorkerCpus = 17;  // IORING_REGISTER_IOWQ_AFF, 5.14
// A completion does not interrupt the thread that submitted: it is told by a flag, and shows once
// that thread enters the kernel. IORING_SETUP_COOP_TASKRUN and _TASKRUN_FLAG, 5.19.
constexpr unsigned kSetupQuiet = 1u << 8 | 1u << 9;
constexpr unsigned kTaskrun = 1u << 2;  // IORING_SQ_TASKRUN
struct Time {                           // __kernel_timespec
  int64_t seconds, nanoseconds;
};
struct WaitArgument {  // io_uring_getevents_arg
  uint64_t sigmask, sigmask_size, timeout;
};

// Both came with 5.6, and only the first shows.
constexpr unsigned kFeatureOpRead = IORING_FEAT_RW_CUR_POS;

unsigned load(const unsigned* value) {
  return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

void store(unsigned* value, unsigned next) {
  __atomic_store_n(value, next, __ATOMIC_RELEASE);
}

}  // namespace

struct Uring::Rings {
  ~Rings() {
    if (entries != MAP_FAILED) munmap(entries, entries_bytes);
    if (queues != MAP_FAILED) munmap(queues, queues_bytes);
    if (file >= 0) close(file);
  }

  // Maps what the kernel made; an errno or 0.
  int map(const io_uring_params& p) {
    if ((p.features & IORING_FEAT_SINGLE_MMAP) == 0 || (p.features & kFeatureOpRead) == 0) {
      return ENOSYS;
    }
    queues_bytes = std::max<size_t>(p.sq_off.array + p.sq_entries * sizeof(unsigned),
                                    p.cq_off.cqes + p.cq_entries * sizeof(io_uring_cqe));
    queues = mmap(nullptr, queues_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file,
                  IORING_OFF_SQ_RING);
    entries_bytes = p.sq_entries * sizeof(io_uring_sqe);
    if (queues == MAP_FAILED) return errno;
    entries = mmap(nullptr, entries_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file,
                   IORING_OFF_SQES);
    if (entries == MAP_FAILED) return errno;
    auto* base = static_cast<uint8_t*>(queues);
    const auto at = [base](unsigned offset) { return reinterpret_cast<unsigned*>(base + offset); };
    sq_head = at(p.sq_off.head);
    sq_tail = at(p.sq_off.tail);
    cq_head = at(p.cq_off.head);
    cq_tail = at(p.cq_off.tail);
    sq_flags = at(p.sq_off.flags);
    sq_mask = *at(p.sq_off.ring_mask);
    cq_mask = *at(p.cq_off.ring_mask);
    size = p.sq_entries;
    completions = reinterpret_cast<io_uring_cqe*>(base + p.cq_off.cqes);
    // Entries are used in their order, so the array between queue and entries never changes.
    for (unsigned i = 0; i < size; ++i) at(p.sq_off.array)[i] = i;
    ext_arg = (p.features & kFeatureExtArg) != 0;
    return 0;
  }

  bool arrived() const { return *cq_head != load(cq_tail); }
  bool held_back() const { return (load(sq_flags) & kTaskrun) != 0; }
  unsigned unsubmitted() const { return *sq_tail - load(sq_head); }

  int enter(unsigned wanted, unsigned flags, const void* argument, size_t bytes) {
    if (const int error = fault ? fault() : 0) return error;
    const long count =
        syscall(__NR_io_uring_enter, file, unsubmitted(), wanted, flags, argument, bytes);
    return count < 0 ? errno : 0;
  }

  int file = -1;
  void* queues = MAP_FAILED;
  void* entries = MAP_FAILED;
  size_t queues_bytes = 0, entries_bytes = 0;
  unsigned *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
  unsigned sq_mask = 0, cq_mask = 0, size = 0;
  io_uring_cqe* completions = nullptr;
  bool ext_arg = false;
  std::function<int()> fault;
};

Uring::Uring(std::unique_ptr<Rings> rings) : rings_(std::move(rings)) {}
Uring::~Uring() = default;

std::unique_ptr<Uring> Uring::create(unsigned entries, int* error, bool quiet) {
  io_uring_params params{};
  params.flags = quiet ? kSetupQuiet : 0;
  auto rings = std::make_unique<Rings>();
  rings->file = static_cast<int>(syscall(__NR_io_uring_setup, entries, &params));
  if (rings->file < 0 && errno == EINVAL) {
    params = {};
    rings->file = static_cast<int>(syscall(__NR_io_uring_setup, entries, &params));
  }
  *error = rings->file < 0 ? errno : rings->map(params);
  // A filter may permit the one call and forbid the other.
  if (*error == 0) *error = rings->enter(0, 0, nullptr, 0);
  if (*error != 0) return nullptr;
  return std::unique_ptr<Uring>(new Uring(std::move(rings)));
}

bool Uring::register_files(std::span<const int> files) {
  return syscall(__NR_io_uring_register, rings_->file, IORING_REGISTER_FILES, files.data(),
                 static_cast<unsigned>(files.size())) == 0;
}

void Uring::bind_kernel_threads(std::span<const int> cpus) {
  uint64_t mask[kMaxCpus / 64] = {};
  for (const int cpu : cpus) {
    if (cpu >= 0 && cpu < kMaxCpus) mask[cpu / 64] |= uint64_t{1} << (cpu % 64);
  }
  syscall(__NR_io_uring_register, rings_->file, kRegisterWorkerCpus, mask,
          static_cast<unsigned>(sizeof(mask)));
}

void Uring::set_fault(std::function<int()> fault) {
  rings_->fault = std::move(fault);
}

bool Uring::push(const Request& request) {
  Rings& r = *rings_;
  if (r.unsubmitted() == r.size) return false;
  const unsigned tail = *r.sq_tail;
  io_uring_sqe& entry = static_cast<io_uring_sqe*>(r.entries)[tail & r.sq_mask];
  std::memset(&entry, 0, sizeof(entry));
  entry.opcode = IORING_OP_READ;
  entry.flags = request.registered ? IOSQE_FIXED_FILE : 0;
  entry.fd = request.file;
  entry.off = request.offset;
  entry.addr = reinterpret_cast<uintptr_t>(request.out);
  entry.len = request.bytes;
  entry.user_data = request.data;
  store(r.sq_tail, tail + 1);
  return true;
}

bool Uring::pending() const {
  return rings_->unsubmitted() != 0;
}

int Uring::submit() {
  return rings_->enter(0, 0, nullptr, 0);
}

int Uring::wait(std::chrono::nanoseconds timeout) {
  Rings& r = *rings_;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const Time limit{seconds.count(), (timeout - seconds).count()};
  if (r.ext_arg) {
    const WaitArgument argument{0, 0, reinterpret_cast<uintptr_t>(&limit)};
    return r.enter(1, IORING_ENTER_GETEVENTS | kEnterExtArg, &argument, sizeof(argument));
  }
  if (const int error = pending() ? submit() : 0) return error;
  pollfd completed{r.file, POLLIN, 0};
  const timespec same{static_cast<time_t>(limit.seconds), static_cast<long>(limit.nanoseconds)};
  const int ready = ppoll(&completed, 1, &same, nullptr);
  return ready < 0 ? errno : ready == 0 ? ETIME : 0;
}

bool Uring::ready() const {
  return rings_->arrived() || rings_->held_back();
}

bool Uring::pop(Completion* completion) {
  Rings& r = *rings_;
  if (!r.arrived()) {
    if (!r.held_back()) return false;
    syscall(__NR_io_uring_enter, r.file, 0, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
    if (!r.arrived()) return false;
  }
  const unsigned head = *r.cq_head;
  const io_uring_cqe& entry = r.completions[head & r.cq_mask];
  *completion = {entry.user_data, entry.res};
  store(r.cq_head, head + 1);
  return true;
}

}  // namespace zs::io

#else

namespace zs::io {

struct Uring::Rings {};
Uring::Uring(std::unique_ptr<Rings> rings) : rings_(std::move(rings)) {}
Uring::~Uring() = default;
std::unique_ptr<Uring> Uring::create(unsigned, int* error, bool) {
  *error = ENOSYS;
  return nullptr;
}
bool Uring::register_files(std::span<const int>) {
  return false;
}
void Uring::bind_kernel_threads(std::span<const int>) {}
void Uring::set_fault(std::function<int()>) {}
bool Uring::push(const Request&) {
  return false;
}
bool Uring::pending() const {
  return false;
}
int Uring::submit() {
  return ENOSYS;
}
int Uring::wait(std::chrono::nanoseconds) {
  return ENOSYS;
}
bool Uring::ready() const {
  return false;
}

bool Uring::pop(Completion*) {
  return false;
}

}  // namespace zs::io

#endif
