// Does something now and then, on a thread of its own without Python.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace zs::bind {

class IdleWatch {
 public:
  // `look` must not throw, and not wait for whoever destroys this.
  IdleWatch(std::chrono::milliseconds interval, std::function<void()> look);
  ~IdleWatch();
  IdleWatch(const IdleWatch&) = delete;
  IdleWatch& operator=(const IdleWatch&) = delete;

 private:
  std::mutex lock_;
  std::condition_variable ends_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace zs::bind
