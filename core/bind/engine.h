// The engine as bindings hold it, for the files that bind its methods.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "bind/idle_watch.h"
#include "graph/engine.h"

namespace zs::bind {

// The engine runs one step at a time; the lock is taken with the GIL released.
struct BoundEngine {
  BoundEngine() = default;
  // Reads that the drive has not answered are waited for, by nobody else.
  ~BoundEngine() {
    nanobind::gil_scoped_release release;
    watch.reset();
    engine.reset();
  }

  std::mutex lock;
  std::unique_ptr<graph::Engine> engine;
  std::atomic<bool> interrupted{false};  // asked of the step under way
  // Where experts are streamed: memory that others need is theirs while no step runs, too.
  std::optional<IdleWatch> watch;  // last: ends before what it looks at
};

// What fn(engine) returns, between steps.
template <class Fn>
auto locked(BoundEngine& self, Fn&& fn) {
  nanobind::gil_scoped_release release;
  std::lock_guard guard(self.lock);
  return std::forward<Fn>(fn)(*self.engine);
}

// Methods that run steps.
void steps(nanobind::class_<BoundEngine>& engine);
// Methods about sequences and the pages that they share.
void sequences(nanobind::class_<BoundEngine>& engine);

}  // namespace zs::bind
