// Sleeps on a condition, so that it ends at once.
#include "bind/idle_watch.h"

#ifdef __linux__
#include <pthread.h>
#endif

#include <utility>

namespace zs::bind {

IdleWatch::IdleWatch(std::chrono::milliseconds interval, std::function<void()> look)
    : thread_([this, interval, look = std::move(look)] {
#ifdef __linux__
        pthread_setname_np(pthread_self(), "zs-idle");
#endif
        std::unique_lock lock(lock_);
        while (!ends_.wait_for(lock, interval, [this] { return ended_; })) look();
      }) {
}

IdleWatch::~IdleWatch() {
  {
    const std::lock_guard lock(lock_);
    ended_ = true;
  }
  ends_.notify_one();
  thread_.join();
}

}  // namespace zs::bind
