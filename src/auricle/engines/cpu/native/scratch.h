// Memory that a thread keeps for its next call: fresh pages cost more than what is computed in them.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace auricle {

// Grows and never shrinks; what was written is lost when it grows. In huge pages, of which a pass over a megabyte needs
// one address instead of hundreds.
template <class Number>
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  Number* room_for(int64_t count) {
    if (count > count_) {
      std::free(data_);
      data_ = nullptr, count_ = 0;
      const size_t bytes = (count * sizeof(Number) + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
      data_ = static_cast<Number*>(std::aligned_alloc(HUGE_BYTES, bytes));
      if (!data_) throw std::bad_alloc();
      madvise(data_, bytes, MADV_HUGEPAGE);
      count_ = bytes / sizeof(Number);
    }
    return data_;
  }

 private:
  static constexpr size_t HUGE_BYTES = size_t(2) << 20;
  Number* data_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace auricle
