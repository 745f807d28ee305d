// Reads records (an expert, say) through a Reader: in requests of a size that suits the drive,
// spread over copies of the files, tried again when they fail, and what is demanded before what
// is read on speculation. Serves one thread at a time, which waits nowhere but in collect(), and
// allocates nothing once as many records as ever have been under way.
#pragma once

#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/fifo.h"
#include "io/mirrors.h"
#include "io/open_reader.h"
#include "io/reader.h"

namespace zs::io {

struct QueueOptions {
  ReaderOptions reader;                           // with the paths of the model's files
  std::vector<std::vector<std::string>> mirrors;  // copies of all of them, on other drives
  std::vector<uint64_t> heads;  // bytes of each file that mirrors must have, see all_copies()
  size_t request_bytes = size_t{1} << 20;  // at most; a multiple of kReadAlign
  // A record is read in so many, if they need not be shorter than 256 KiB.
  size_t requests_per_record = 1;
  // Speculation waits until fewer requests than this are under way; 0: the reader's depth.
  unsigned speculative_depth = 0;
};

struct Record {
  uint32_t tag = 0;     // names the record until it has been collected
  uint32_t file = 0;    // index into the paths
  uint64_t offset = 0;  // this, `bytes` and `out` are multiples of kReadAlign
  size_t bytes = 0;     // room at `out`
  size_t needed = 0;    // 1..bytes; what follows may be left out or lie behind the file's end
  // Lives until the record is collected, or the queue is gone. nullptr: it stays where the reader
  // maps the file.
  uint8_t* out = nullptr;
  bool speculative = false;
  bool primary = false;  // never from a mirror
};

struct Finished {
  uint32_t tag = 0;
  int error = 0;  // errno; 0: the bytes needed are at `out`
  // The request that failed.
  uint32_t file = 0;  // also counts the files of mirrors
  uint64_t offset = 0;
  size_t bytes = 0;
  uint64_t copies = 0;  // a bit for each copy that gave bytes, counted as by Mirrors
};

struct QueueCounters {
  uint64_t bytes_read = 0;
  uint64_t requests = 0;  // started, retries among them
  uint64_t retries = 0;
  uint64_t records = 0;  // collected, without those that were cancelled
  uint64_t failed = 0;   // of them
  uint64_t cancelled = 0;
  uint64_t busy_us = 0;  // with a request under way, as far as this thread saw
};

class ReadQueue {
 public:
  // Throws Storage, InvalidRequest.
  explicit ReadQueue(const QueueOptions& options);

  // Starts reading records and returns. Each will be collected once, if not cancelled.
  void read(std::span<const Record> records);
  void read(const Record& record) { read({&record, 1}); }

  // What became of a record by cancel().
  struct Cancelled {
    bool gone = false;  // it is not collected; else it is, with ECANCELED if anything was dropped
    size_t unread = 0;  // bytes of it that are not read
  };
  // Drops what has not been started of a speculative record.
  Cancelled cancel(uint32_t tag);
  // Makes a speculative record one that is demanded. False if none of this tag waits.
  bool promote(uint32_t tag);
  // Goes on with a speculative record only while nothing else is under way, a request at a time;
  // or, with `later` false, as with any other again. Returns the bytes that are not read; 0 if
  // none of this tag waits.
  size_t defer(uint32_t tag, bool later = true);

  // Takes finished records, at most out.size(). If there are none it waits for one, at most
  // `timeout` and not at all if none is under way. Also starts what waited, so it should be
  // called now and then (with a timeout of 0) while records are under way.
  size_t collect(std::span<Finished> out, std::chrono::microseconds timeout);

  // Of a file of the model, or behind them of a mirror's.
  std::string path(size_t file) const;
  // What a record failed of, to be thrown: Storage, with file and offset.
  Error failure(const Finished& finished) const;

  // As collect() without taking anything: speculation goes on while its owner is busy elsewhere.
  // Cheap where nothing has finished. An error of the reader waits for the next collect().
  void poll() noexcept {
    if (under_way_ != 0 && reader_->ready()) poll_now();
  }
  // From now on speculation waits while so many bytes are under way: those delay what is demanded.
  void limit_speculation(size_t bytes) { speculative_bytes_ = bytes; }

  // Records that have been read() but neither collected nor cancelled.
  size_t in_flight() const { return in_flight_; }
  bool idle() const { return in_flight_ == 0; }
  // Requests under way.
  size_t requests_under_way() const { return under_way_; }
  // Speculative records of which something still waits for the drive to have time.
  size_t speculation_waiting() const { return speculative_.size() + deferred_.size(); }

  const QueueCounters& counters() const { return counters_; }
  uint64_t bytes_read() const { return counters_.bytes_read; }
  // The least time that a request has taken so far; zero before one has ended.
  Clock::duration quickest() const { return quickest_; }
  const Mirrors& mirrors() const { return mirrors_; }
  Reader& reader() const { return *reader_; }
  // Why the reader is not what was asked for, or empty.
  const std::string& why() const { return why_; }
  // Reads nothing more from the mirrors among these copies, because of what they gave.
  void distrust(uint64_t copies, const std::string& why);
  // What the user should know, such as a mirror that failed; empty if nothing new.
  std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }

 private:
  struct State {
    Record record;
    size_t piece_bytes = 0;
    size_t next = 0;    // where the next request begins
    uint32_t open = 0;  // requests under way
    Finished result;
  };
  struct Piece {
    uint32_t state = 0;
    size_t begin = 0, bytes = 0, needed = 0;  // in the record
    uint32_t copy = 0;
    uint32_t attempts = 0;
    Clock::time_point sent{};
  };

  bool issued(const State& state) const { return state.next >= state.record.needed; }
  Fifo<uint32_t>* waiting(uint32_t tag, size_t& at);
  bool waits_in(Fifo<uint32_t>& queue, uint32_t tag, size_t& at);
  void issue(uint32_t state);
  void send(uint32_t piece);
  void start_speculation();
  void release(uint32_t state);
  void poll_now() noexcept;
  void flush();
  size_t reap(std::chrono::microseconds timeout);
  void take(const ReadResult& result);
  void fail(uint32_t state, const Piece& piece, int error);
  bool retry(uint32_t piece, int error);
  void leave(size_t mirror, const std::string& why);
  void count_time();

  std::vector<std::string> paths_;  // of all copies
  size_t files_;                    // of one copy
  Mirrors mirrors_;
  std::unique_ptr<Reader> reader_;
  std::string why_;
  std::vector<std::string> warnings_;
  size_t request_bytes_, requests_per_record_, speculative_depth_;
  size_t speculative_bytes_ = std::numeric_limits<size_t>::max();
  std::exception_ptr polled_;  // what poll() met

  std::vector<State> states_;
  std::vector<Piece> pieces_;
  std::vector<uint32_t> free_states_, free_pieces_;
  Fifo<uint32_t> speculative_, deferred_, finished_;  // states
  std::vector<Read> batch_;                           // for the next submit
  std::vector<ReadResult> results_;
  size_t in_flight_ = 0, under_way_ = 0, bytes_under_way_ = 0;
  QueueCounters counters_;
  Clock::duration busy_{}, quickest_{};
  Clock::time_point counted_{};  // busy_ holds the time before it
};

}  // namespace zs::io
