// A first-in first-out queue that keeps its memory: std::deque allocates as it moves on.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace zs::io {

template <class T>
class Fifo {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return items_[(head_ + i) & (items_.size() - 1)]; }
  const T& operator[](size_t i) const { return items_[(head_ + i) & (items_.size() - 1)]; }

  void push(const T& item) {
    if (size_ == items_.size()) grow();
    ++size_;
    (*this)[size_ - 1] = item;
  }

  T pop() {
    T item = (*this)[0];
    ++head_;
    --size_;
    return item;
  }

  // Takes out the item at `i`; those behind it move up.
  void erase(size_t i) {
    for (; i + 1 < size_; ++i) (*this)[i] = (*this)[i + 1];
    --size_;
  }

 private:
  void grow() {
    std::vector<T> larger(items_.empty() ? 16 : items_.size() * 2);
    for (size_t i = 0; i < size_; ++i) larger[i] = (*this)[i];
    items_ = std::move(larger);
    head_ = 0;
  }

  std::vector<T> items_;  // a power of two of them
  size_t head_ = 0, size_ = 0;
};

}  // namespace zs::io
